"""A user's command with emulated accounts in place of the real ones."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidError, SettingsError
from ..settings import HOME_VARIABLE
from . import accounts, report, scenario
from .scenario import CLOUDS, Scenario
from .world import EmulatedWorld

_SHORT_TEMP = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108 - a folder of our own in it
"""Paths of Unix sockets below it may have about 100 characters, which some systems' own exceed."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends to the command itself as well."""
SETTLE = 1.5
"""Seconds; five times what an emulated cloud takes to end an instance."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
CLOUDS_VARIABLE = "BYOC_CLOUDS"


class Rehearsal(NamedTuple):
    """What was asked for. ``clouds``: empty means all. ``report``: where the summary goes, if
    anywhere. ``settings_name_clouds``: the caller's own settings choose among clouds."""

    command: Sequence[str]
    scenario: Path | None = None
    seed: int = 0
    clouds: Sequence[str] = ()
    report: Path | None = None
    egress: bool = False
    settings_name_clouds: bool = False


Told = Callable[[Mapping[str, Any]], None]
"""Gets the summary when all is over."""


def rehearse(asked: Rehearsal, environ: Mapping[str, str], told: Told) -> int:
    """Run the command, end all that it rented, write the report; the command's exit code.

    128 and the signal's number when a signal ended it, 127 when there is no such command. Raises
    before anything is started: SettingsError for a wrong scenario, InvalidError for a wrong
    argument, BootError when this host cannot have emulated machines.
    """
    wanted = _wanted(asked)
    _must_be_writable(asked.report)
    environ = dict(environ)
    with accounts.real_ones_hidden(), _folder() as folder:
        world = EmulatedWorld(wanted, folder, seed=asked.seed, egress=asked.egress)
        try:
            clouds = [cloud for cloud in CLOUDS if cloud in (asked.clouds or CLOUDS)]
            told_by = accounts.start(world, clouds, folder / "accounts")
            own = _environment(asked, environ, told_by, clouds, folder)
            world.begin()
            code = run(asked.command, own)
            _settle(world)
            ending = report.ending(world, code)
        finally:
            accounts.stop(world)
        summary = report.summary(world, ending)
    if asked.report is not None:
        asked.report.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    told(summary)
    return code


def _wanted(asked: Rehearsal) -> Scenario:
    for cloud in asked.clouds:
        if cloud not in CLOUDS:
            raise InvalidError(
                f"there is no emulated cloud {cloud!r}",
                hints=(f"Use one of: {', '.join(CLOUDS)}.",),
            )
    return scenario.read(asked.scenario) if asked.scenario else Scenario()


def _must_be_writable(path: Path | None) -> None:
    if path is None:
        return
    try:
        path.touch()
        path.write_text("", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path}: the report cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A private folder, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="byoc-emulator-", dir=_SHORT_TEMP)).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _environment(
    asked: Rehearsal,
    environ: Mapping[str, str],
    told_by: Mapping[str, str],
    clouds: Sequence[str],
    folder: Path,
) -> dict[str, str]:
    """What the command starts with: the emulated accounts, no real ones, and this byoc."""
    own = {**accounts.scrubbed(environ), **accounts.NOWHERE, **told_by}
    if not environ.get(HOME_VARIABLE):
        home = folder / "home"
        home.mkdir(mode=0o700)
        own[HOME_VARIABLE] = str(home)
    if not asked.settings_name_clouds:
        own[CLOUDS_VARIABLE] = ",".join(clouds)
    path = environ.get("PATH", os.defpath)
    own["PATH"] = path if _finds_us(path) else os.pathsep.join([_bin(folder), path])
    return own


def _finds_us(path: str) -> bool:
    """Whether ``byoc`` on this PATH is the one that runs now."""
    found = shutil.which("byoc", path=path)
    return found is not None and Path(found).parent == Path(sys.executable).parent


def _bin(folder: Path) -> str:
    """A folder with nothing but this byoc: the PATH's other programs stay the user's choice."""
    own = folder / "bin"
    own.mkdir(mode=0o700)
    script = own / "byoc"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m byoc "$@"\n')
    script.chmod(0o700)
    return str(own)


def _settle(world: EmulatedWorld) -> None:
    """Let the clouds finish what they were asked for: an instance ends some time after the request
    that ends it, and what is on its way is not still alive."""
    deadline = world.now() + SETTLE
    while world.ledger.alive() and world.now() < deadline:
        time.sleep(SETTLE / 50)


def run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command in the foreground, hand signals on to it, and return its exit code."""
    before = {int(number): signal.getsignal(number) for number in _FORWARDED}
    caught: list[int] = []
    child: list[int] = []

    def forward(number: int, _: object) -> None:
        if number in _FROM_TERMINAL and _in_foreground():
            return  # the terminal has sent it to the command already
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child[0], number)
        else:
            caught.append(number)

    try:
        for number in map(int, _FORWARDED):
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, forward)
        program = shutil.which(command[0], path=environ["PATH"])
        if program is None:
            return _refused(command[0], "there is no such command", NOT_FOUND)
        try:
            child.append(os.posix_spawn(program, list(command), dict(environ), setsigdef=_DEFAULTS))
        except OSError as error:
            return _refused(program, error.strerror or str(error), NOT_EXECUTABLE)
        for number in caught:
            os.kill(child[0], number)
        _, status = os.waitpid(child[0], 0)
        child.clear()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


_DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores and programs do not expect to be ignored."""


def _refused(name: str, why: str, code: int) -> int:
    sys.stderr.write(f"error: {name}: {why}\n")
    return code


def _in_foreground() -> bool:
    """Whether this process and its command own the terminal, which then signals both."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is no terminal
        return False
