"""Programs written for older versions of Modal run, and are told once what to write now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import PROGRAMS

EXPECTED = """\
old (1, 's', [True, True])
map [0, 1, 2]
once True
cls (6, ('b', 'c'), True)
method [2, 3]
gather 2
options 7
"""
OLD = [
    *("Image.copy_local_file", "Mount.from_local_file", "byoc.Stub", "secret=", "mounts="),
    *("concurrency_limit=", "container_idle_timeout=", "keep_warm=", "allow_concurrent_inputs="),
    *("max_inputs=", "Old.__init__ with arguments", "Old.__enter__", "Old.__exit__"),
    *("@byoc.concurrent on a method", "wrap_returned_exceptions=", "byoc.functions.gather"),
]


@pytest.fixture(scope="module")
def done(warm_home: Path) -> subprocess.CompletedProcess[str]:
    """The program, run by the command line."""
    argv = [sys.executable, "-m", "byoc", "run", "--quiet", PROGRAMS / "e2e_old_names.py"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_an_old_program_runs(done: subprocess.CompletedProcess[str]) -> None:
    """Behaviour 1: every old name does what its new one does, remotely too."""
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines(True) if not line.startswith("left")]
    assert "".join(lines) == EXPECTED
    assert "left None" in done.stdout


@pytest.mark.parametrize("name", OLD)
def test_each_old_name_is_said_once_per_place(
    name: str, done: subprocess.CompletedProcess[str]
) -> None:
    """Behaviour 1: the warning names the line; containers do not repeat it."""
    said = re.findall(rf"^(\S+):(\d+): DeprecationError: .*{re.escape(name)}", done.stderr, re.M)
    assert said, done.stderr
    assert {file for file, _ in said} == {str(PROGRAMS / "e2e_old_names.py")}
    assert len(set(said)) == len(said)
