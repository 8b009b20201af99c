"""A client in a process of its own, for tests in which clients meet, or die.

``hold HOME CLOUD``: acquire, print the instance's id, keep it until stdin ends, release it.
``churn HOME CLOUD TIMES``: acquire and release, claiming each instance for itself meanwhile.
``crash FOLDER SCENARIO``: die before and after each step; one folder per way of dying.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byoc.clock import SYSTEM, Clock
from byoc.fleet.core import Fleet
from byoc.providers.base import Survey
from byoc.resources import Resources
from byoc.settings import Settings
from byoc.state import Journal
from tests.fleet.world import CloudDialer, FileCloud, HandClock, Watcher

SMALL = Resources(cpu=1, memory=512)
BEGIN = 1_000_000.0
PARTS = {
    "journal": [
        "open_attempt",
        "change",
        "close_attempt",
        "add_run_instance",
    ],
    "cloud": ["offers", "survey", "launch", "get", "list", "terminate"],
    "dialer": ["new_host_key", "preload", "knock", "connect"],
}
"""The steps at which a client can die: every call that leaves it."""


def main() -> None:
    command, *rest = sys.argv[1:]
    {"hold": hold, "churn": churn, "crash": crash}[command](*rest)


def fleet_of(home: Path, cloud: FileCloud, bomb: Callable[[str, Any], Any] | None = None) -> Fleet:
    """A fleet as a fresh client opens it; ``bomb`` may wrap the parts it works with."""
    clock = cloud.clock
    wrap = bomb or (lambda name, part: part)
    settings = Settings(home=home, clouds=(cloud.name,))
    journal = wrap("journal", Journal.open(home, clock))
    dialer = wrap("dialer", CloudDialer([cloud], clock))
    providers = {cloud.name: wrap("cloud", cloud)}
    return Fleet(settings, journal, providers, dialer, Watcher(), clock)


def hold(home: str, cloud: str) -> None:
    held = fleet_of(Path(home), FileCloud(Path(cloud), SYSTEM)).acquire(SMALL, "run-hold")
    print(held.instance.id, flush=True)
    sys.stdin.read()
    held.release(60)


def churn(home: str, cloud: str, times: str) -> None:
    fleet = fleet_of(Path(home), FileCloud(Path(cloud), SYSTEM))
    for _ in range(int(times)):
        held = fleet.acquire(SMALL, f"run-{os.getpid()}")
        claim = Path(cloud) / f"claimed-{held.instance.id}"
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL))  # fails when someone else has it too
        held.connect().close()
        claim.unlink()
        held.release(60)


def crash(folder: str, scenario: str) -> None:
    """Runs the scenario once to count its steps, then once for each way of dying in it."""
    steps: list[str] = []
    _scenario(Path(folder) / "whole", scenario, steps.append, "before")
    for number, name in enumerate(steps):
        for when in ("before", "after"):
            child = os.fork()
            if not child:
                place = Path(folder) / f"{number:02d}-{when}-{name}"
                _scenario(place, scenario, _at(number), when)
                os._exit(3)  # the step was not reached: the test sees the code
            _, status = os.waitpid(child, 0)
            if os.waitstatus_to_exitcode(status) != 9:
                sys.exit(f"{scenario}: step {number} ({name}) was not reached")


def _at(number: int) -> Callable[[str], None]:
    left = [number]

    def step(name: str) -> None:
        if not left[0]:
            os._exit(9)
        left[0] -= 1

    return step


def _scenario(place: Path, scenario: str, step: Callable[[str], None], when: str) -> None:
    cloud = regional(place / "cloud", HandClock(BEGIN))

    def bomb(name: str, part: Any) -> Any:
        return Mined(name, part, step, when)

    held = fleet_of(place / "home", cloud, bomb).acquire(SMALL, "run-crashed")
    if scenario == "end":
        held.end()
    elif scenario == "release":
        held.release(60)


def regional(folder: Path, clock: Clock) -> FileCloud:
    """A cloud that is asked only in the regions where the journal says that something is."""
    cloud = FileCloud(folder, clock)
    cloud.surveys["region"] = Survey("region", {"small": ("a",)})
    return cloud


class Mined:
    """A part whose calls are steps."""

    def __init__(self, name: str, part: Any, step: Callable[[str], None], when: str) -> None:
        self._name = name
        self._part = part
        self._step = step
        self._when = when

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        if name not in PARTS[self._name]:
            return value

        def call(*args: Any, **more: Any) -> Any:
            if self._when == "before":
                self._step(f"{self._name}.{name}")
            result = value(*args, **more)
            if self._when == "after":
                self._step(f"{self._name}.{name}")
            return result

        return call


if __name__ == "__main__":
    main()
