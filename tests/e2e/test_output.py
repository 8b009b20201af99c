"""What remote code prints, as the user of a program sees it."""

from __future__ import annotations

import os
from pathlib import Path

import e2e_calls
import pytest

import byoc


def test_output_comes_before_the_result(warm_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a call printed is shown before the call returns, every time, whole."""
    with byoc.enable_output(), e2e_calls.app.run():
        for n in range(40):
            assert e2e_calls.says.remote(n) == n
            os.write(1, b"back %d\n" % n)
    out, err = capfd.readouterr()
    expected = [line for n in range(40) for line in (f"out {n}", f"raw {n}", f"back {n}")]
    assert out.splitlines() == expected
    assert [line for line in err.splitlines() if line.startswith("err")] == [
        f"err {n}" for n in range(40)
    ]


def test_output_is_silent_unless_asked_for(
    warm_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run in a program shows nothing of its own accord."""
    with e2e_calls.app.run():
        assert e2e_calls.says.remote(1) == 1
    assert capfd.readouterr() == ("", "")
