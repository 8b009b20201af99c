"""byoc's options behind the program: whose an option is, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.cli.console import Console
from byoc.cli.options import Common
from byoc.cli.trailing import lifted, split
from byoc.errors import InvalidError
from byoc.resources import parse_gpu
from tests.cli.harness import byoc

OWN = frozenset({"--n", "--gpu", "--no-gpu", "--no-n"})


@pytest.mark.parametrize(
    ("args", "own", "ours", "theirs"),
    [
        (["--cloud", "aws", "--n", "3"], frozenset({"--n"}), ["--cloud", "aws"], ["--n", "3"]),
        (["--n", "3", "--spot"], frozenset({"--n"}), ["--spot"], ["--n", "3"]),
        (["--gpu", "big"], OWN, [], ["--gpu", "big"]),
        (["--gpu=H100"], frozenset(), ["--gpu=H100"], []),
        (["--no-keep", "x", "--gpu", "T4"], None, ["--no-keep"], ["x", "--gpu", "T4"]),
        (["--", "--gpu", "T4"], None, [], ["--gpu", "T4"]),
        (["--spot", "--", "--gpu", "T4"], None, ["--spot"], ["--gpu", "T4"]),
        (["x", "--", "y"], None, [], ["x", "--", "y"]),
        (["--n", "3", "--", "--gpu"], frozenset({"--n"}), [], ["--n", "3", "--", "--gpu"]),
        ([], None, [], []),
    ],
)
def test_an_option_is_the_programs_when_it_has_it(
    args: list[str], own: frozenset[str] | None, ours: list[str], theirs: list[str]
) -> None:
    """A program's own option wins; a plain program's words begin at the first that is not ours."""
    assert split(args, own) == (ours, theirs)


def test_options_on_both_sides_add_up() -> None:
    """Lists grow, of single values the last one counts, and output options are heard."""
    console = Console()
    before = Common(cloud=("aws",), cpu=1.0, words=("--cloud", "aws"))
    words = ["--cloud", "gcp", "--cpu", "2", "--gpu", "T4", "--json", "--n", "1"]
    after, rest = lifted(console, before, words, frozenset({"--n"}))
    assert after.cloud == ("aws", "gcp") and after.cpu == 2.0
    assert after.gpu == (parse_gpu("T4"),)
    assert after.words[:2] == ("--cloud", "aws") and "--gpu" in after.words
    assert console.as_json and rest == ("--n", "1")


def test_a_wrong_value_behind_the_program_is_refused() -> None:
    """With the same words as before it."""
    with pytest.raises(InvalidError, match="invalid value for '--cpu'"):
        lifted(Console(), Common(), ["--cpu", "many"], frozenset())


PROGRAM = """
import byoc
app = byoc.App("x")

@app.function()
def double(n: int, region: str = "here") -> str:
    return f"{n * 2} {region}"
"""


def test_a_run_takes_options_from_behind(own_env: dict[str, str], tmp_path: Path) -> None:
    """The function has ``region`` itself; ``--memory`` is byoc's, and too much of it is refused."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    line = ["run", str(program), "--n", "4", "--region", "mine", "--dry-run", "--memory", "1MiB"]
    done = byoc(line, tmp_path, own_env)
    assert done.code == 0, done.err
    assert "double" in done.out + done.err
    refused = byoc([*line[:-1], "900TiB"], tmp_path, own_env)
    assert refused.code != 0 and "memory" in refused.err
