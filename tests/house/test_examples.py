"""The examples run, and the pages show what is in them and what they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import end_instances, new_home
from tests.helpers import ROOT, gone

README = (ROOT / "README.md").read_text()
VERSION = re.compile(r"Python 3\.\d+\.\d+")
FIGURES = re.compile(r"\d+\.\d\d s.*")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LONGEST = 60
"""Lines of an example, so that it is read in one go."""
PRINTED = {
    "classes": """\
        one: 175
        three: [35, 70, 105]
        large: 50
        with more memory: 175
        batched: a in a batch of 4
        together: 10 pages at once
    """,
    "mapping": """\
        in order: [0, 1, 2, 3, 4]
        as they finish: [0, 1, 2, 3, 4]
        two iterables: [111, 122, 133]
        tuples: [11, 22]
        a failure: 13 brings bad luck
        failures in place: [12, ValueError('13 brings bad luck'), 14]
        retried: this at attempt 3
    """,
    "streaming": """\
        words: ONE BY ONE
        broke off at: 4
        from a function: 6
        two at once: [(0, 1, 2, 3), (0, 1, 2, 3)]
    """,
    "checkpoint": """\
        kept: step 300, loss 0.222
        kept: step 600, loss 0.049
        kept: step 900, loss 0.011
        scored: [0, 1, 4, 9]
    """,
    "gang": """\
        the sum of the numbers below 1000 is 499500
    """,
    "async_calls": """\
        spawned: not there yet
        spawned: 9
        by its id: 9
        gathered: [0, 1, 4]
        awaited: [1, 2, 3]
        mapped: [10, 11, 12]
        cancelled: the call of slow_square was cancelled
    """,
}
"""What the entrypoint of each prints; what its containers print comes whenever they do."""


def block(kind: str) -> str:
    """The README's first block of that kind."""
    found = re.search(rf"^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def words(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: versions and times."""
    return [FIGURES.sub("", VERSION.sub("Python", line)).strip() for line in lines]


def byoc_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``byoc run`` with these arguments, at the top of the repository."""
    argv = [sys.executable, "-m", "byoc", "run", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """A ``BYOC_HOME`` for all of the other examples, whose instance stays warm between them."""
    home, before = new_home(), os.environ["BYOC_HOME"]
    os.environ["BYOC_HOME"] = str(home)
    yield home
    os.environ["BYOC_HOME"] = before
    end_instances(home)
    gone(str(home), 30)
    shutil.rmtree(home, ignore_errors=True)


def test_the_readme_shows_the_example() -> None:
    """The program in the README is examples/hello.py, word for word, less its docstring."""
    example = (ROOT / "examples/hello.py").read_text()
    assert example.partition('"""\n\n')[2] == block("python")


@pytest.mark.slow
def test_the_example_prints_what_the_readme_shows(byoc_home: Path) -> None:
    """A newcomer who copies the first command sees the README's lines, on the right stream; what
    the containers of a map print comes in any order."""
    command, *shown = block("console").splitlines()
    assert command == "$ ./scripts/run examples/hello.py"
    done = byoc_run("examples/hello.py")
    assert done.returncode == 0, done.stderr
    assert byoc_home.is_dir()
    ours = [line for line in shown if line.startswith("byoc:")]
    told, expected = done.stdout.splitlines(), [line for line in shown if line not in ours]
    assert sorted(words(told)) == sorted(words(expected))
    local = ("one call:", "a map:")
    assert [x for x in told if x.startswith(local)] == [x for x in expected if x.startswith(local)]
    stages = [line for line in done.stderr.splitlines() if FIGURES.search(line)]
    assert words(stages)[: len(ours)] == words(ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.usefixtures("shared_home")
def test_the_other_examples_print_what_they_say(name: str) -> None:
    """Each example runs as its docstring says, and prints these lines in this order."""
    done = byoc_run("--quiet", f"examples/{name}.py")
    assert done.returncode == 0, done.stderr
    expected = [line.strip() for line in PRINTED[name].splitlines() if line.strip()]
    assert [line for line in done.stdout.splitlines() if line in expected] == expected, done.stdout


def test_every_example_is_run() -> None:
    """No example is left out of the tests above, and each is short."""
    assert {path.stem for path in EXAMPLES} == {"hello", *PRINTED}
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= LONGEST, path.name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_say_how_they_are_run(path: Path) -> None:
    """The commands in an example's docstring name that example."""
    docstring = path.read_text().split('"""')[1]
    for line in re.findall(r"^byoc .*$", docstring, re.MULTILINE):
        assert line.startswith(f"byoc run examples/{path.name}"), line
