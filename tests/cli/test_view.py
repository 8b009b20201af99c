"""How a run's events are shown in a pipe."""

from __future__ import annotations

import pytest

from byoc.cli.console import Console
from byoc.cli.view import View


class Watch:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall(self) -> float:
        return self.now

    def mono(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def kept() -> list[bytes]:
    """What went to the run's log."""
    return []


def view(kept: list[bytes], *, quiet: bool = False) -> View:
    """A view whose output pytest captures."""
    return View(Console(quiet=quiet, environ={}), Watch(), kept.append)


def test_a_finished_stage_is_a_line(capfd: pytest.CaptureFixture[str], kept: list[bytes]) -> None:
    """In a pipe each finished stage is one line on stderr; a beginning one is none."""
    shown = view(kept)
    shown.start()
    shown.stage("boot", "start", "local/x")
    shown.stage("boot", "done", "", 0.0567)
    shown.stage("image", "note", "step 2")
    shown.stage("image", "failed", "pip said no")
    shown.stop()
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "byoc: boot     0.06 s\nbyoc: image    failed  pip said no\n"


def test_program_output_is_passed_on_and_kept(
    capfd: pytest.CaptureFixture[str], kept: list[bytes]
) -> None:
    """Remote stdout and stderr keep their streams, and both go to the log in order."""
    shown = view(kept, quiet=True)
    shown.log(1, b"out\n")
    shown.log(2, b"err\n")
    shown.stage("run", "done", "", 1.0)
    shown.build_log(b"building\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("out\n", "err\n")
    assert kept == [b"out\n", b"err\n"]


def test_a_notice_is_told_once(capfd: pytest.CaptureFixture[str], kept: list[bytes]) -> None:
    """The same sentence is not repeated."""
    shown = view(kept)
    for _ in range(3):
        shown.notice("an instance was lost")
    assert capfd.readouterr().err == "byoc: an instance was lost\n"


def test_the_last_line_tells_time_place_and_fate(
    capfd: pytest.CaptureFixture[str], kept: list[bytes]
) -> None:
    """Outcome, total, stages in their order, and what becomes of each instance."""
    view(kept).last_line(
        "done", 1.234, ["new instance i on a/b, ended"], {"run": 0.5, "place": 0.1}
    )
    line = "byoc: done in 1.23 s (place 0.10, run 0.50); new instance i on a/b, ended\n"
    assert capfd.readouterr().err == line
