"""Gangs on this computer: ranks meet, fail together, and go on without a lost node."""

from __future__ import annotations

import re
from pathlib import Path

import e2e_gangs
import pytest

import byoc
from byoc.errors import ContainerError
from tests.cli import harness
from tests.helpers import ROOT

pytestmark = pytest.mark.timeout(120)


def test_ranks_meet_by_their_environment_and_the_value_is_rank_0s(shared: Path) -> None:
    """Two ranks add up what they have at MASTER_ADDR and MASTER_PORT, call after call in the same
    containers; a call fails as a whole, names the rank, and the next one runs in new ones."""
    with e2e_gangs.app.run():
        assert list(e2e_gangs.total.map([1, 2, 3])) == [102, 104, 106]
        with pytest.raises(KeyError, match="one is wrong") as caught:
            e2e_gangs.fails.remote(1, "raises")
        assert caught.value.__notes__ == ["raised on rank 1 of 2"]
        with pytest.raises(ContainerError, match=r"exited with code 3 .*\(rank 0\)"):
            e2e_gangs.fails.remote(0, "exits")
        assert e2e_gangs.fails.remote(0, "") == "fine"
        assert e2e_gangs.Counter().add.remote(5) == 10


def test_outside_there_is_no_cluster() -> None:
    """Who asks for the gang where there is none is told so, with what to write."""
    with pytest.raises(byoc.exception.InvalidError, match="not a container of a gang") as caught:
        byoc.Cluster.from_context()
    assert "nodes=2" in caught.value.hints[0]


def test_a_command_runs_on_every_node(warm_home: Path, tmp_path: Path) -> None:
    """Rank 0 reads stdin, each line says whose it is, and the first failure ends the others."""
    code = "import os,sys,time; r=os.environ['RANK']; print(r, sys.stdin.read(), flush=True); "
    env, words = (
        harness.environment(warm_home),
        ["exec", "--nodes", "2", "--", "python", "-c", code],
    )
    fine = harness.byoc(words, tmp_path, env, "hi")
    assert fine.code == 0, fine.err
    assert sorted(re.findall(r"\[rank \d\] \d \w*", fine.out)) == [
        "[rank 0] 0 hi",
        "[rank 1] 1 ",
    ]
    code += "sys.exit(4) if r == '1' else time.sleep(60)"
    failed = harness.byoc([*words[:-1], code], tmp_path, env)
    assert failed.code == 4, failed.err
    assert "rank 1 failed: the others are ended" in failed.err


def test_nodes_of_functions_that_have_one_are_refused(warm_home: Path, tmp_path: Path) -> None:
    """``--nodes`` changes how many a gang has, and makes none of a function that is not."""
    words = ["run", str(ROOT / "examples" / "hello.py"), "--nodes", "2"]
    said = harness.byoc(words, tmp_path, harness.environment(warm_home))
    assert said.code != 0
    assert "runs on several nodes" in said.err
