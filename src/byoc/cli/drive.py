"""Drive one run from the command line: session, signals, live view, last line, exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _lazy
from ..clock import IDS, SYSTEM
from ..engine.options import Approved, RunOptions
from ..errors import InstanceError, InvalidError, PlacementError, ProviderError
from ..settings import Settings
from . import attempts, failure, ladders, logged, records
from .console import Console
from .drivers import Driver
from .interrupts import Interrupts
from .options import Common
from .view import View

if TYPE_CHECKING:
    from ..engine.base import Base
    from ..images.mounts import FileEntry
    from ..state import Attempt

_PROGRAM = "byoc.engine.command:Commands"
_SESSIONS = {"run": "byoc.engine.session:Session", "exec": _PROGRAM, "script": _PROGRAM}
"""Kind of a job -> the session that it runs in."""
EACH = 3
"""Instances that the last line names one by one; ``byoc ps`` and ``--json`` have all of them."""
_NO_INSTANCE = (PlacementError, ProviderError, InstanceError)
"""Errors that a run without an instance ends in."""


class Job(NamedTuple):
    """What to run. ``kind``: ``run`` | ``exec`` | ``script``. ``work`` runs it in an open session
    and returns the exit code and, when there is one, the value for ``--json``. ``asks``: what each
    function that it may call asks for. ``contents``: reads the program's files.
    ``about``: more for the object of ``--json``."""

    command: str
    kind: str
    name: str
    typed: tuple[str, ...]
    work: Callable[[Any], tuple[int, Any]]
    asks: Sequence[ladders.Ask]
    contents: Callable[[], Sequence[FileEntry]] = tuple
    about: Mapping[str, Any] = MappingProxyType({})


def drive(
    console: Console,
    settings: Settings,
    common: Common,
    job: Job,
    background: str,
    approved: tuple[Approved, ...] | None = None,
) -> int:
    """Run the job and report how it went. Returns the exit code. ``approved``: see RunOptions."""
    if background:
        console.as_json = False  # the command that put this one there has printed it
        _print_by_line()
    check_nodes(common, job)
    if common.dry_run:
        return _dry_run(console, settings, common, job)
    driver = Driver(settings, background)
    try:
        with Interrupts() as interrupts, logged.told(console):
            console.on_reader_gone = interrupts.leave
            options = _options(settings, common, job, driver)._replace(approved=approved)
            view = View(console, SYSTEM, driver.keep, common.verbose)
            return _run(console, settings, options, job, driver, interrupts, view)
    finally:
        driver.close()


def _print_by_line() -> None:
    """What the program prints here reaches the run's log, a file, as it is printed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


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
    view: View,
) -> int:
    session = _session(settings, options, view, job.kind, driver.run_id)
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
    fields = {**job.about, "run": driver.run_id, "seconds": round(seconds, 4), **summary}
    if ended is not None:
        tried = _tried(console, settings, driver.run_id, ended)
        code = failure.conclude(
            ended,
            console,
            job.command,
            of_program=ended is raised,
            fields=fields | ({"attempts": tried} if tried else {}),
            tried=tried,
        )
    elif console.as_json:
        console.json_object(job.command, code, fields | _value(value) | {"error": None})
    view.last_line(_outcome(code, ended), seconds, _places(summary), summary["stages"])
    return code


def _tried(
    console: Console, settings: Settings, run_id: str, ended: BaseException
) -> list[Attempt]:
    """The attempts that came to nothing, where they are why the run failed."""
    if not isinstance(ended, _NO_INSTANCE):
        return []
    with records.opened(settings, console) as journal:
        return attempts.failed(journal.attempts(run_id))


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
    """One text per instance of the run: where, warm or new, what becomes of it; or one for all that
    share these, where they are many."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in summary["instances"]:
        origin = "warm" if one["warm"] else "new"
        until = one["kept_until"]
        left = {
            "kept": f"kept until {records.moment(until)[-8:]}" if until else "kept",
            "ended": "ended",
        }.get(one["left"], "left to its lease")
        groups.setdefault((origin, one["offer"], left), []).append(one["id"])
    found = []
    for (origin, offer, left), ids in groups.items():
        if len(ids) > EACH:
            found.append(f"{len(ids)} {origin} instances on {offer}, {left}")
        else:
            found += [f"{origin} instance {id_} on {offer}, {left}" for id_ in ids]
    return found


def _session(
    settings: Settings, options: RunOptions, view: View, kind: str, run_id: str | None
) -> Base:
    session: Base = _lazy.load(_SESSIONS[kind])(
        settings, options, view, run_id=run_id, kind=kind, clock=SYSTEM, ids=IDS
    )
    return session


def check_nodes(common: Common, job: Job) -> None:
    """Refuse ``--nodes`` for functions none of which was declared with several."""
    if common.nodes and job.kind == "run" and all(ask.nodes == 1 for ask in job.asks):
        raise InvalidError(
            f"--nodes: {job.name} calls no function that runs on several nodes",
            hints=("declare it: @app.function(nodes=2), or run a plain script",),
        )


def requests(console: Console, settings: Settings, common: Common, job: Job) -> list[ladders.Ask]:
    """What each function of the job asks for, with the run's options and the settings applied."""
    check_nodes(common, job)
    return applied(console, settings, common, job.asks, job.kind)


def applied(
    console: Console, settings: Settings, common: Common, asks: Sequence[ladders.Ask], kind: str
) -> list[ladders.Ask]:
    """Requests with the run's options and the settings applied. ``kind``: as in :class:`Job`."""
    options = common.run_options(keep=settings.keep, name="", command=())
    session = _session(settings, options, View(console, SYSTEM), kind, None)
    return [
        ladders.Ask(
            ask.name,
            session.merged(ask.resources),
            common.nodes or ask.nodes if kind != "run" or ask.nodes > 1 else 1,
        )
        for ask in asks
    ]


def _dry_run(console: Console, settings: Settings, common: Common, job: Job) -> int:
    asks = requests(console, settings, common, job)
    found = ladders.survey(console, settings, asks)
    if console.as_json:
        functions = ladders.as_data(found)
        console.json_object(job.command, 0, {"dry_run": True, "functions": functions})
    else:
        ladders.show(console, found, None if common.verbose else ladders.TOP)
    return 0
