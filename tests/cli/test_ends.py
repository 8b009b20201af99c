"""What ``byoc down`` and ``byoc reap`` take for a name: nothing ends that was not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.cli.commands.down import named_by
from byoc.errors import NotFoundError
from byoc.state import Run
from tests.cli.harness import byoc

RUNS = [Run(one, "run") for one in ("run-abc", "run-abd", "gh-77-1-x", "gh-77-2-y", "gh-78-1-z")]
MEANT = [
    ("run-abc", ["run-abc"]),
    ("gh-77", ["gh-77-1-x", "gh-77-2-y"]),
    ("gh-78-1", ["gh-78-1-z"]),
    ("run-abd-", []),
    ("i-0abc", []),
    ("", []),
]


@pytest.mark.parametrize(("word", "names"), MEANT)
def test_a_word_names_runs(word: str, names: list[str]) -> None:
    """A run is cancelled by its name, or with others of its job by their common beginning."""
    assert [run.id for run in named_by(RUNS, word)] == names


@pytest.mark.parametrize("word", ["run", "r", "run-ab", "gh-"])
def test_the_beginning_of_several_cancels_none(word: str) -> None:
    """A beginning that several runs have by chance is refused, with what there is to choose."""
    with pytest.raises(NotFoundError, match="several runs begin with"):
        named_by(RUNS, word)


@pytest.mark.parametrize("name", ["", "-", "gh-"])
def test_a_name_that_is_nobodys_is_refused(
    name: str, own_env: dict[str, str], tmp_path: Path
) -> None:
    """``byoc reap --run gh-$ID`` with an empty ID reaps nothing, and says what to look at."""
    said = byoc(["reap", "--run", name], tmp_path, own_env)
    assert said.code == 2 and "--run needs the name of a run" in said.err
