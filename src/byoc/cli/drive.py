"""Drive one run from the command line: session, signals, live view, last line, exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _lazy
from ..clock import IDS, SYSTEM
from ..engine.options import RunOptions
from ..resources import Resources
from ..settings import Settings
from . import failure, records
from .console import Console
from .drivers import Driver
from .interrupts import Interrupts
from .options import Common
from .view import View

if TYPE_CHECKING:
    from ..engine.base import Base

_PROGRAM = "byoc.engine.command:Commands"
_SESSIONS = {"run": "byoc.engine.session:Session", "exec": _PROGRAM, "script": _PROGRAM}
"""Kind of a job -> the session that it runs in."""


class Job(NamedTuple):
    """What to run. ``kind``: ``run`` | ``exec`` | ``script``. ``work`` runs it in an open session
    and returns the exit code and, when there is one, the value for ``--json``. ``asks``: the name
    and the resources of each function that it may call."""

    command: str
    kind: str
    name: str
    typed: tuple[str, ...]
    work: Callable[[Any], tuple[int, Any]]
    asks: Sequence[tuple[str, Resources]]


def drive(console: Console, settings: Settings, common: Common, job: Job, background: str) -> int:
    """Run the job and report how it went. Returns the exit code."""
    if background:
        console.as_json = False  # the command that put this one there has printed it
    if common.dry_run:
        return _show_plan(console, settings, common, job)
    driver = Driver(settings, background)
    try:
        with Interrupts() as interrupts:
            console.on_reader_gone = interrupts.leave
            options = _options(settings, common, job, driver)
            return _run(console, settings, options, job, driver, interrupts)
    finally:
        driver.close()


def _options(settings: Settings, common: Common, job: Job, driver: Driver) -> RunOptions:
    return common.run_options(
        keep=settings.keep,
        name=job.name,
        command=job.typed,
        log=str(driver.log),
        detached=driver.background,
    )


def _run(
    console: Console,
    settings: Settings,
    options: RunOptions,
    job: Job,
    driver: Driver,
    interrupts: Interrupts,
) -> int:
    view = View(console, SYSTEM, driver.keep)
    session: Base = _lazy.load(_SESSIONS[job.kind])(
        settings, options, view, run_id=driver.run_id, kind=job.kind, clock=SYSTEM, ids=IDS
    )
    raised: BaseException | None = None
    ended: BaseException | None = None
    code, value = 0, None
    begun = SYSTEM.mono()
    view.start()
    try:
        with session:
            driver.ready()
            try:
                code, value = job.work(session)
            except BaseException as error:
                raised = error
                raise
            finally:
                interrupts.ending()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is reported below
        ended = error
    view.stop()
    seconds = SYSTEM.mono() - begun
    if raised is not None and ended is not raised:
        failure.conclude(raised, console, job.command, of_program=True)
    summary = session.summary()
    fields = {"run": driver.run_id, "seconds": round(seconds, 4), **summary}
    if ended is not None:
        code = failure.conclude(
            ended, console, job.command, of_program=ended is raised, fields=fields
        )
    elif console.as_json:
        console.json_object(job.command, code, fields | _value(value) | {"error": None})
    view.last_line(_outcome(code, ended), seconds, _places(summary), summary["stages"])
    return code


def _outcome(code: int, ended: BaseException | None) -> str:
    if isinstance(ended, KeyboardInterrupt):
        return "cancelled"
    return "done" if code == 0 else f"failed with exit code {code}"


def _value(value: Any) -> dict[str, Any]:
    """What the function returned, where JSON can hold it; else its text."""
    if _fits(value):
        return {"result": value}
    return {"result": None, "result_repr": repr(value)}


def _fits(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(name) is str and _fits(one) for name, one in value.items())
    if isinstance(value, list):
        return all(map(_fits, value))
    return value is None or type(value) in (bool, int, float, str)


def _places(summary: Mapping[str, Any]) -> list[str]:
    """One text per instance of the run: where, warm or new, what becomes of it."""
    found = []
    for one in summary["instances"]:
        origin = "warm" if one["warm"] else "new"
        until = one["kept_until"]
        left = {
            "kept": f"kept until {records.moment(until)[-8:]}" if until else "kept",
            "ended": "ended",
        }.get(one["left"], "left to its lease")
        found.append(f"{origin} instance {one['id']} on {one['offer']}, {left}")
    return found


def _show_plan(console: Console, settings: Settings, common: Common, job: Job) -> int:
    """``--dry-run``: what each function asks for and the ladder it would climb."""
    view = View(console, SYSTEM)
    options = common.run_options(keep=settings.keep, name=job.name, command=job.typed)
    session: Base = _lazy.load(_SESSIONS[job.kind])(
        settings, options, view, run_id=None, kind=job.kind, clock=SYSTEM, ids=IDS
    )
    found = []
    with _lazy.load("byoc.fleet.core:open_fleet")(settings, view, os.environ) as fleet:
        for name, asked in job.asks:
            resources = session.merged(asked)
            ladder = fleet.plan(resources)
            found.append({"name": name, "resources": resources.describe(), "ladder": ladder})
    if console.as_json:
        console.json_object(job.command, 0, {"dry_run": True, "functions": found})
        return 0
    for one in found:
        console.data(f"{one['name']}: {one['resources']}")
        for number, rung in enumerate(one["ladder"].rungs, 1):
            price = "no price known" if rung.offer.price is None else f"${rung.offer.price:.2f}/h"
            console.data(f"  {number}. {rung.offer.key()}  {price}  {rung.reason}")
        for rung in one["ladder"].refused:
            console.data(f"  not {rung.offer.key()}: {rung.reason}")
    return 0
