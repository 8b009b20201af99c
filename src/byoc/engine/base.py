"""What every kind of run has: a row in the journal, stages, instances, and an orderly end."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..clock import Clock, Ids
from ..errors import CancelledError, Error, InstanceError, PlacementError
from ..fleet import Fleet, open_fleet, runids
from ..fleet.held import Held
from ..fleet.ports import Dialer
from ..images import mounts, native
from ..placement import Rules
from ..resources import Resources
from ..runtime_agent import bundle
from ..settings import Settings
from ..state import Journal, Run
from ..tasks import Task, attempt
from . import threads
from .events import Reporter
from .live import LiveInstance
from .options import RunOptions
from .ranks import RankLines
from .shown import Shown

if TYPE_CHECKING:
    from typing_extensions import Self

FLUSH_WAIT = 10.0
"""Seconds for the last remote output to arrive; the terminal may be slow."""
FIRST_CONTACTS = 3
"""Instances that may vanish, one after the other, before their agent runs: a spot market gives and
takes, but not for ever at somebody's expense."""
JOIN_WAIT = 15.0
"""Seconds for an acquisition that was told to stop; beyond it the lease ends what it began."""


class Search(NamedTuple):
    """Who looks for an instance. ``key``: of its function, 0 for a command. ``besides``: those that
    will not do, ``claim``: takes the one that was found; both are called under the lock."""

    key: int
    besides: Callable[[], Collection[LiveInstance | None]]
    claim: Callable[[LiveInstance], None]


class Stages:
    """Passes events on and keeps the stages, for the journal and the summary. What several
    instances do side by side counts once."""

    def __init__(self, reporter: Reporter, clock: Clock) -> None:
        self._reporter = reporter
        self._clock = clock
        self._lock = threading.Lock()
        self._ended: dict[str, float] = {}
        self._told = Shown(lambda size: None)
        self._ranks = RankLines(self._show)
        self.seconds: dict[str, float] = {}
        self.details: dict[str, str] = {}

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """See :class:`~byoc.engine.events.Reporter`."""
        if status == "done":
            with self._lock:
                now = self._clock.mono()
                fresh = min(seconds, now - self._ended.get(name, -math.inf))
                self.seconds[name] = self.seconds.get(name, 0.0) + fresh
                self.details[name] = detail
                self._ended[name] = now
        self._reporter.stage(name, status, detail, seconds)

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        """See :class:`~byoc.engine.events.Reporter`. What one rank of a gang wrote says so."""
        if not self._ranks.took(fd, data, container):
            self._reporter.log(fd, data, container)

    def _show(self, fd: int, data: bytes, container: str) -> None:
        self._reporter.log(fd, data, container)

    def ranked(self, container: str, rank: int) -> None:
        """From now on this container's output is that of a rank."""
        self._ranks.add(container, rank)

    def build_log(self, data: bytes) -> None:
        """See :class:`~byoc.engine.events.Reporter`."""
        self._reporter.build_log(data)

    def notice(self, message: str) -> None:
        """See :class:`~byoc.engine.events.Reporter`. Waits no more than a moment: on the threads
        that tell of something hang the calls of others."""
        self._told.put(partial(self._reporter.notice, message), 0)
        self._told.catch_up()

    def wait(self) -> None:
        """Until all notices were taken."""
        self._told.wait()

    def last_lines(self) -> None:
        """Show what ranks of gangs wrote without ending the line."""
        self._ranks.flush()


class Base:
    """The part of a session that does not know of functions."""

    def __init__(
        self,
        settings: Settings,
        options: RunOptions,
        reporter: Reporter,
        *,
        run_id: str | None,
        kind: str,
        clock: Clock,
        ids: Ids,
        dialer: Dialer | None = None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.run_id = run_id or runids.fresh(ids, os.environ)
        self.clock = clock
        self._kind = kind
        self._ids = ids
        self._dialer = dialer
        self._reporter = Stages(reporter, clock)
        self.lock = threading.RLock()
        self._ended = threading.Condition(self.lock)
        self._acquired = threading.Condition(self.lock)
        self._acquiring: Counter[int] = Counter()
        self._nodes = itertools.count()
        self._packing: Task[bundle.Bundle] | None = None
        self._hosts: list[LiveInstance] = []
        self._gone: list[LiveInstance] = []
        self._leaving: list[Task[None]] = []
        self._late = False  # whatever is acquired from now on, nobody is there to give it back
        self._ticker = threads.Ticker(clock)
        self._closed = False
        self._run_begun: float | None = None
        self._stack = contextlib.ExitStack()
        self._fleet: Fleet | None = None
        self._exit_code: int | None = None
        self._kept: list[dict[str, Any]] = []

    # --- life -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Open the journal and note the run; nothing is rented."""
        opened = open_fleet(self.settings, self._reporter, os.environ, self.clock, self._dialer)
        self._fleet = self._stack.enter_context(opened)
        row = Run(
            self.run_id,
            self._kind,
            tuple(self.options.command),
            cwd=os.getcwd(),
            name=self.options.name,
            pid=os.getpid(),
            started=self.clock.wall(),
            log=self.options.log,
            detached=self.options.detached,
        )
        self._fleet.journal.put_run(row)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End containers, pass on the last output, give the instances back, note how it ended."""
        try:
            self._tear_down(error)
        finally:
            try:
                self._note_end(error)
            finally:
                self._stack.close()

    @property
    def journal(self) -> Journal:
        """The journal; only while the session is open."""
        return self.fleet.journal

    @property
    def fleet(self) -> Fleet:
        """The fleet; only while the session is open."""
        if self._fleet is None:
            raise Error("the session is not open")
        return self._fleet

    def _tear_down(self, error: BaseException | None) -> None:
        with self.lock:
            self._closed = True
        self._ticker.stop()
        over = CancelledError("the run is over")
        self._stop_containers(graceful=error is None)
        self._fail_everything(over)
        with self._acquired:
            settled = self._acquired.wait_for(lambda: not self._acquiring.total(), JOIN_WAIT)
        if not settled:
            self._reporter.notice("an instance is still being started; its lease ends it")
        with self.lock:
            self._late = True
            hosts = list(self._hosts)
        if self._run_begun is not None:
            self._stage("run", "done", "", self._run_begun)
        self._leaving += [self._leave(host) for host in hosts]
        for leaving in self._leaving:
            leaving.result()
        if error is None:  # who is interrupted does not wait for a terminal that stands still
            for host in [*hosts, *self._gone]:
                host.show_rest()
            self._reporter.wait()
        if not isinstance(error, KeyboardInterrupt):
            self._reporter.last_lines()

    def _part_with(self, host: LiveInstance) -> None:
        """Give an instance back, or up; under the lock. Once: others may have done so."""
        if host in self._hosts:
            self._hosts.remove(host)
            self._gone.append(host)
            self._leaving.append(self._leave(host))

    def _leave(self, host: LiveInstance) -> Task[None]:
        """Give an instance back, or up, in a thread; the end of the run waits for it."""
        return Task("byoc-release", partial(self._release, host))

    def _release(self, host: LiveInstance) -> None:
        instance = host.held.instance
        idle = self.settings.idle if self.options.idle is None else self.options.idle
        keep = self.options.keep and idle > 0 and not host.leaving
        try:
            host.flush_logs(FLUSH_WAIT)
            host.release(idle, keep)
            left = "kept" if keep and host.lost is None else "ended"
        except Error as problem:  # one of several: the others are waited for all the same
            self._reporter.notice(f"instance {instance.id}: {problem.message}")
            left = "unknown"
        self._kept.append(
            {
                "provider": instance.provider,
                "id": instance.id,
                "offer": instance.offer.key(),
                "warm": host.held.warm,
                "left": left,
                "kept_until": self.clock.wall() + idle if left == "kept" else None,
            }
        )

    def _note_end(self, error: BaseException | None) -> None:
        status = "ok"
        shown: dict[str, Any] | None = None
        if isinstance(error, KeyboardInterrupt):
            status = "cancelled"
        elif error is not None and not (isinstance(error, SystemExit) and not error.code):
            status = "failed"
            shown = (
                error.as_dict()
                if isinstance(error, Error)
                else {"code": "user", "type": type(error).__name__, "message": str(error)}
            )
        elif self._exit_code:
            status = "failed"
        for name, seconds in self._reporter.seconds.items():
            self.journal.add_stage(self.run_id, name, seconds, self._reporter.details[name])
        ended = self.clock.wall()
        self.journal.end_run(
            self.run_id, status, ended=ended, exit_code=self._exit_code, error=shown
        )

    def summary(self) -> dict[str, Any]:
        """After the end: the run, its instances and what became of them, seconds per stage."""
        return {
            "run": self.run_id,
            "instances": list(self._kept),
            "stages": {k: round(v, 4) for k, v in self._reporter.seconds.items()},
        }

    def _stop_containers(self, graceful: bool) -> None:
        """End whatever runs; sessions that run something say how."""

    def _fail_everything(self, error: BaseException) -> None:
        """Tell everyone who still waits."""

    def _host_lost(self, host: LiveInstance, error: InstanceError) -> None:
        """An instance is gone."""

    def _host_leaving(self, host: LiveInstance) -> None:
        """An instance is preempted in a moment."""

    # --- instances ------------------------------------------------------------------------

    def merged(self, asked: Resources) -> Resources:
        """What a function asks for: the run's options on top, the settings where it is silent."""
        options, settings = self.options, self.settings
        silent = Resources()
        fallback: dict[str, Any] = {
            "gpus": settings.gpu,
            "cpu": settings.cpu,
            "memory": settings.memory,
            "disk": settings.disk,
        }
        for name, value in fallback.items():
            if value and getattr(asked, name) == getattr(silent, name):
                asked = asked._replace(**{name: value})
        given: dict[str, Any] = {
            "gpus": options.gpu,
            "cpu": options.cpu,
            "memory": options.memory,
            "disk": options.disk,
            "market": options.market,
            "clouds": options.clouds or None,
            "regions": options.regions or None,
            "max_price": options.max_price,
            "exclude": (*asked.exclude, *options.exclude) if options.exclude else None,
        }
        return asked._replace(**{key: value for key, value in given.items() if value is not None})

    def _instance(self, resources: Resources, search: Search | None = None) -> LiveInstance:
        """A running instance of this run that can hold the request; acquired when there is none.

        One function may acquire several side by side. Another one waits for what these bring,
        since it may do for it as well.
        """
        search = search or Search(0, list, lambda host: None)
        rules = Rules.of(resources)
        with self._acquired:
            while True:
                if self._closed:
                    raise CancelledError("the run is over")
                if host := self._fitting(rules, search.besides()):
                    search.claim(host)
                    return host
                if not any(self._acquiring[key] for key in self._acquiring if key != search.key):
                    break
                self._acquired.wait()
            self._acquiring[search.key] += 1
        try:
            return self._acquire(resources, search)
        finally:
            with self._acquired:
                self._acquiring[search.key] -= 1
                self._acquired.notify_all()

    def _fitting(
        self, rules: Rules, besides: Collection[LiveInstance | None]
    ) -> LiveInstance | None:
        able = (host for host in self._hosts if host not in besides and host.usable)
        return next((host for host in able if not rules.refusal(host.offer)), None)

    def _approved(self, resources: Resources) -> tuple[Resources, tuple[str, ...]]:
        """The request with its ceiling and the offers that a plan approved for it; any offer when
        the run has no plan. Raises PlacementError for a request that no plan has approved."""
        if self.options.approved is None:
            return resources, ()
        for one in self.options.approved:
            if one.resources == resources:
                return resources._replace(max_price=one.max_price), one.only
        raise PlacementError(
            f"the plan approves no offer for {resources.describe()}",
            hints=("make a plan of what the program asks for now: byoc plan",),
        )

    def _acquire(self, resources: Resources, search: Search) -> LiveInstance:
        """A new instance with a running agent, which the run has from now on. One that vanishes
        before its agent runs is followed by another one, within reason."""
        for tries in range(FIRST_CONTACTS, 0, -1):
            host = self._rent(resources, last=tries == 1)
            if host is not None:
                break
        assert host is not None  # the last one raises
        with self.lock:
            if not self._late:
                self._hosts.append(host)
                search.claim(host)
                return host
        self._discharge(host)
        raise CancelledError("the run is over")

    def _rent(self, resources: Resources, last: bool) -> LiveInstance | None:
        """An instance with a running agent; None when it vanished before that and it was not the
        ``last`` that is to be tried."""
        allowed, only = self._approved(resources)
        node = next(self._nodes)
        keep = self.options.keep
        packing = self._packed()
        held = self.fleet.acquire(
            allowed, self.run_id, keep=keep, node=node, only=only, stop=lambda: self._closed
        )
        begun = self.clock.mono()
        try:
            host = self._live(held, packing.result(), self._host_lost, self._host_leaving)
            failure = self._first_contact(host, last)
        except BaseException as error:
            self._reporter.stage("connect", "failed", str(error))
            held.lost(str(error))
            raise
        if failure is not None:
            self._reporter.stage("connect", "failed", str(failure))
            held.lost(str(failure))
            return None
        seconds = self.clock.mono() - begun + held.connecting
        self._reporter.stage("connect", "done", "warm" if held.warm else "new", seconds)
        return host

    def _discharge(self, host: LiveInstance) -> None:
        """End one that nobody is to use; that it could not be is told."""
        failed = attempt(partial(host.release, 0.0, False))
        if isinstance(failed, BaseException):
            name = host.held.instance.id
            self._reporter.notice(f"instance {name} could not be ended: {failed}")

    def _live(
        self,
        held: Held,
        agent: bundle.Bundle,
        on_lost: Callable[[LiveInstance, InstanceError], None],
        on_leaving: Callable[[LiveInstance], None],
    ) -> LiveInstance:
        return LiveInstance(
            held,
            agent,
            self._reporter,
            self.clock,
            session=self._ids.new("ses"),
            lease=self.settings.lease,
            on_lost=on_lost,
            on_leaving=on_leaving,
        )

    def _first_contact(self, host: LiveInstance, last: bool) -> InstanceError | None:
        """Start the agent; why that failed, where another instance is to be tried."""
        try:
            host.open()
        except InstanceError as error:
            host.note_taken()
            if last or self._closed or not host.vanished:
                raise
            return error
        return None

    def _packed(self) -> Task[bundle.Bundle]:
        """The agent's bundle, being packed: once for all instances of the run."""
        with self.lock:
            if self._packing is None:
                cache = self.settings.home / "cache"
                self._packing = Task("byoc-bundle", lambda: bundle.build(cache))
            return self._packing

    def _ready(
        self, host: LiveInstance, files: Sequence[mounts.FileEntry], plan: native.EnvPlan
    ) -> dict[str, Any]:
        """Have files and an environment on an instance: the stage ``image``; ``run`` follows."""
        begun = self.clock.mono()
        self._stage("image", "start")
        env = host.prepare(files, plan)
        if env["built"] or "image" not in self._reporter.seconds:  # once, not for each function
            self._stage("image", "done", "built" if env["built"] else "cached", begun)
        self._stage("run", "start")
        return env

    def _stage(self, name: str, status: str, detail: str = "", begun: float | None = None) -> None:
        now = self.clock.mono()
        if name == "run" and status == "start":
            if self._run_begun is not None:
                return
            self._run_begun = now
        self._reporter.stage(name, status, detail, now - begun if begun is not None else 0.0)
