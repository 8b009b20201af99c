"""What remote code prints, as the user of a program sees it."""

from __future__ import annotations

import os
from pathlib import Path

import e2e_calls
import pytest

import byoc
from tests.gate import Gate


def test_output_comes_before_the_result(warm_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a call printed is shown before the call returns, every time, whole."""
    with byoc.enable_output(), e2e_calls.app.run():
        for n in range(200):
            assert e2e_calls.says.remote(n) == n
            os.write(1, b"back %d\n" % n)
    out, err = capfd.readouterr()
    expected = [line for n in range(200) for line in (f"out {n}", f"raw {n}", f"back {n}")]
    assert out.splitlines() == expected
    assert [line for line in err.splitlines() if line.startswith("err")] == [
        f"err {n}" for n in range(200)
    ]


def test_lines_of_two_containers_stay_whole(
    warm_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What two containers print at the same time is mixed by lines, never within one."""
    gate = Gate()
    with byoc.enable_output(), e2e_calls.app.run():
        spawned = [e2e_calls.chatters.spawn(gate.port, name, 2000) for name in "ab"]
        gate.wait_for(2)
        gate.open()
        for call in spawned:
            call.get(timeout=60)
    gate.close()
    expected = [f"{name * 20} line {i}" for name in "ab" for i in range(2000)]
    assert sorted(capfd.readouterr().out.splitlines()) == sorted(expected)


def test_output_is_silent_unless_asked_for(
    warm_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run in a program shows nothing of its own accord."""
    with e2e_calls.app.run():
        assert e2e_calls.says.remote(1) == 1
    assert capfd.readouterr() == ("", "")
