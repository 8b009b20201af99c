"""A secret reaches the function that is given it, and nothing else that anybody could read."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.emulator.aws.rentals import Rentals
from tests.clouds.conftest import MakeWorld
from tests.clouds.rehearsal import BYOC, PROGRAMS, WAIT, real_machines
from tests.helpers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@contextlib.contextmanager
def watched(canary: str) -> Iterator[list[str]]:
    """Meanwhile, command lines of any process of this computer that have the canary in them."""
    found: list[str] = []
    looks = threading.Event()
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.01):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if canary.encode() in file.read_bytes():
                        found.append(str(file))
            looks.set()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    until(looks.is_set, 10)
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def holding(canary: str, folder: Path) -> list[str]:
    """Files below a folder that have the canary in them, whatever they are."""
    found = []
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file() and not file.is_symlink() and canary.encode() in file.read_bytes():
                found.append(str(file.relative_to(folder)))
    return found


@real_machines
def test_a_secret_is_found_nowhere(cloud_world: MakeWorld, tmp_path: Path) -> None:
    """A canary given to a function is in no journal, log, command line, boot data, request or
    traceback, and the function that fails with it in a variable does not tell it either."""
    canary = f"canary-{secrets.token_hex(16)}"
    made = cloud_world(clouds=["aws"], machines="real")
    environ = {**made.environ, "CANARY": canary, "BYOC_CLOUDS": "aws", "NO_COLOR": "1"}
    with watched(canary) as argv:
        done = subprocess.run(
            [BYOC, "run", "--keep", "-v", str(PROGRAMS / "canary.py")],
            env=environ, capture_output=True, text=True, timeout=WAIT, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert f"letters: {len(canary)}" in done.stdout, done.stderr
    assert done.returncode != 0 and f"a token of {len(canary)} letters is refused" in done.stderr
    assert canary not in done.stdout + done.stderr, "told by the run"
    assert argv == [], "in a command line"
    assert holding(canary, made.home) == [], "in byoc's data folder: journal or logs"
    assert holding(canary, tmp_path) == [], "in the working folder"
    (facade,) = made.world.facades()
    rentals: Any = facade
    rented: Rentals = rentals._rentals
    boot_data = [str(one.instance.user_data) for one in rented.every()]
    assert boot_data and not [text for text in boot_data if canary in text], "in boot data"
    calls = str(made.world.log.calls("aws"))
    assert canary not in calls, "in a request to the cloud"
    (machine,) = rented.every()
    console = made.world.console("aws", machine.instance.id)
    assert console and canary not in console, "on the machine's console"
    disks = made.home.parent / "machines"
    assert disks.is_dir() and holding(canary, disks) == [], "on the machine's disk"
