"""The README's program is the example, and prints what the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

README = (ROOT / "README.md").read_text()
VERSION = re.compile(r"Python 3\.\d+\.\d+")
FIGURES = re.compile(r"\d+\.\d\d s.*")


def block(kind: str) -> str:
    """The README's first block of that kind."""
    found = re.search(rf"^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def words(lines: list[str]) -> list[str]:
    """Lines without what differs from run to run: versions and times."""
    return [FIGURES.sub("", VERSION.sub("Python", line)).strip() for line in lines]


def test_the_readme_shows_the_example() -> None:
    """The program in the README is examples/hello.py, word for word, less its docstring."""
    example = (ROOT / "examples/hello.py").read_text()
    assert example.partition('"""\n\n')[2] == block("python")


@pytest.mark.slow
def test_the_example_prints_what_the_readme_shows(byoc_home: Path) -> None:
    """A newcomer who copies the first command sees the README's lines, on the right stream."""
    command, *shown = block("console").splitlines()
    assert command == "$ ./scripts/run examples/hello.py"
    done = subprocess.run(
        [sys.executable, "-m", "byoc", "run", "examples/hello.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert byoc_home.is_dir()
    ours = [line for line in shown if line.startswith("byoc:")]
    assert words(done.stdout.splitlines()) == words([x for x in shown if x not in ours])
    stages = [line for line in done.stderr.splitlines() if FIGURES.search(line)]
    assert words(stages)[: len(ours)] == words(ours)
