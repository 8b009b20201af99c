"""The process behind a run: its lock, its log, its end on request."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from byoc import settings
from byoc.cli import drivers
from byoc.cli.drivers import Driver
from byoc.clock import SYSTEM
from byoc.errors import StateError
from byoc.state import Run


@pytest.fixture
def here(tmp_path: Path) -> settings.Settings:
    """Settings whose data folder is the test's own."""
    return settings.load(tmp_path, {"BYOC_HOME": str(tmp_path / "home")})


def test_the_output_of_a_run_is_kept_privately(here: settings.Settings) -> None:
    """The log holds the program's bytes, and only its owner may read it."""
    driver = Driver(here, "")
    driver.keep(b"one\n\xff")
    driver.keep(b"two\n")
    driver.close()
    assert driver.log.read_bytes() == b"one\n\xfftwo\n"
    assert stat.S_IMODE(driver.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(driver.log.parent.stat().st_mode) == 0o700


def test_a_log_has_a_limit(here: settings.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit nothing more is kept, and the log says so."""
    monkeypatch.setattr(drivers, "LOG_LIMIT", 10)
    driver = Driver(here, "")
    for _ in range(5):
        driver.keep(b"123456\n")
    driver.close()
    kept = driver.log.read_bytes()
    assert kept.startswith(b"123456\n") and kept.count(b"ends here") == 1
    assert kept.count(b"123456") == 1


def test_a_run_has_one_driver(here: settings.Settings) -> None:
    """The same run cannot be driven twice at once; afterwards it can."""
    reader, writer = os.pipe()
    first = Driver(here, f"run-1:{writer}")
    with pytest.raises(StateError):
        Driver(here, "run-1")
    first.ready()
    assert os.read(reader, 100) == drivers.READY and os.read(reader, 100) == b""
    os.close(reader)
    first.close()
    Driver(here, "run-1").close()


DRIVE = """
import queue, sys
from pathlib import Path
from byoc import settings
from byoc.cli.drivers import Driver
from byoc.cli.interrupts import Interrupts
from byoc.engine import threads
found = settings.load(Path.cwd(), {"BYOC_HOME": sys.argv[1]})
driver = Driver(found, "run-7")
with Interrupts():
    try:
        print("driving", flush=True)
        threads.take(queue.SimpleQueue())
    except KeyboardInterrupt:
        driver.close()
        sys.exit(5)
"""


def start(here: settings.Settings, env: dict[str, str]) -> subprocess.Popen[str]:
    """Another process that drives run-7."""
    program = subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(here.home)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None and program.stdout.readline() == "driving\n"
    return program


def test_a_driver_is_told_to_stop(here: settings.Settings, shared_env: dict[str, str]) -> None:
    """Cancelling returns once the driver has torn its run down."""
    with start(here, shared_env) as program:
        assert drivers.cancel(Run("run-7", "script"), here, SYSTEM)
        assert program.wait(30) == 5


def test_a_dead_driver_is_nobody(here: settings.Settings, shared_env: dict[str, str]) -> None:
    """A killed driver leaves no lock, so that no stranger with its number gets the signal."""
    with start(here, shared_env) as program:
        program.send_signal(signal.SIGKILL)
        program.wait(30)
    assert not drivers.cancel(Run("run-7", "script"), here, SYSTEM)
