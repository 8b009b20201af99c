"""How a run's events are shown in a pipe."""

from __future__ import annotations

import pytest

from byoc.cli.console import Console
from byoc.cli.view import View
from tests.helpers import until


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


def test_a_wait_that_lasts_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    """In a pipe each thing that is waited for is told once, and only when it takes a while."""
    clock = Watch()
    shown = View(Console(environ={}), clock)
    shown.start()
    shown.stage("boot", "start", "cloud/x")
    shown.stage("boot", "wait", "waiting for an address")
    clock.now += 3
    for _ in range(3):
        shown.stage("boot", "wait", "waiting for its SSH server")
    shown.stage("boot", "done", "", 4.0)
    shown.stop()
    lines = ["byoc: boot     waiting for its SSH server", "byoc: boot     4.00 s"]
    assert capfd.readouterr().err.splitlines() == lines


def test_a_wait_that_is_told_early_is_shown_when_it_lasts(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that hangs at its first hop says so although nothing new happens."""
    monkeypatch.setattr("byoc.cli.view.WAITS_AFTER", 0.02)
    shown = View(Console(environ={}), Watch())
    shown.stage("boot", "start", "cloud/x")
    shown.stage("boot", "wait", "waiting for an address")
    assert until(lambda: capfd.readouterr().err) == "byoc: boot     waiting for an address\n"


def test_fifty_machines_that_wait_do_not_fill_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Only the first few waits of a stage are lines."""
    clock = Watch()
    shown = View(Console(environ={}), clock)
    shown.stage("boot", "start", "cloud/x")
    clock.now += 9
    for number in range(50):
        shown.stage("boot", "wait", f"waiting for its SSH server at 192.0.2.{number}:22")
    assert len(capfd.readouterr().err.splitlines()) == 5


def test_every_wait_is_told_on_request(capfd: pytest.CaptureFixture[str]) -> None:
    """With --verbose short waits are lines, too."""
    shown = View(Console(environ={}), Watch(), verbose=True)
    shown.stage("boot", "start", "cloud/x")
    shown.stage("boot", "wait", "waiting for an address")
    assert capfd.readouterr().err == "byoc: boot     waiting for an address\n"


def test_the_live_line_says_what_is_waited_for() -> None:
    """On a terminal the wait stands in the line, until the stage goes on."""
    clock = Watch()
    shown = View(Console(environ={}), clock)
    shown.stage("boot", "start", "cloud/x")
    shown.stage("boot", "wait", "waiting for an address")
    clock.now += 7
    assert shown._line() == "booting 7 s  waiting for an address  cloud/x"
    shown.stage("connect", "start")
    assert shown._line() == "connecting 0 s"


def test_a_long_refusal_is_cut(capfd: pytest.CaptureFixture[str]) -> None:
    """What a cloud sends with a refusal may be a page; the line is not."""
    view([]).stage("boot", "failed", "x" * 1000)
    err = capfd.readouterr().err
    assert err.startswith("byoc: boot     failed  xxx") and err.endswith("...\n")
    assert len(err) < 240
