"""Instances on which a function can run: its files there, its environment built."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from ..errors import Error, InstanceError
from ..images import mounts, native
from ..settings import LOCAL
from ..tasks import attempt
from . import ends, scaling, sources, threads
from .base import Search
from .command import Commands
from .inputs import FAILURE, Arrival, Buffer, Outcome, deliver
from .live import LiveInstance
from .pool import Pool
from .spec import FunctionSpec

LOOK_AGAIN = 5.0
"""Seconds until an instance without work is looked at again while one is being set up."""


class _Baggage(NamedTuple):
    """What a function brings along: its files, its environment's plan, its pickled code."""

    files: list[mounts.FileEntry]
    plan: native.EnvPlan
    code: list[Buffer]


class Prepared(NamedTuple):
    """What starting a pool's containers on one instance needs."""

    plan: native.EnvPlan
    env: dict[str, Any]
    code: list[Buffer]


class BringingUp(Commands):
    """The part of a session that finds and prepares instances for functions."""

    _prepared: dict[tuple[int, int], Prepared]
    _bringing: dict[int, list[LiveInstance | None]]
    """By pool, what is under way for it: the instance, None while there is none yet."""

    def _hosts_for(self, pool: Pool) -> list[LiveInstance]:
        """The live instances on which this pool's containers can be started."""
        prepared = self._prepared
        return [h for h in self._hosts if h.usable and (id(h), id(pool)) in prepared]

    def _begin_bringing(self, pool: Pool, beyond: bool = False) -> None:
        """Have the instances that a pool is worth, unless they are under way; under the lock.
        ``beyond``: besides those that it has."""
        under_way = self._bringing.setdefault(id(pool), [])
        count = 1
        if beyond or self._spreads(pool):
            count = scaling.instances(pool, self._hosts_for(pool))
        coming = [one for one in under_way if one is None or one.usable]
        for _ in range(count - len(coming)):
            under_way.append(None)
            threads.start("byoc-bring-up", partial(self._bring_up, pool))
        if not under_way:
            del self._bringing[id(pool)]

    def _spreads(self, pool: Pool) -> bool:
        """Its first containers are known to need an instance each, and more of them are wanted:
        they are rented side by side."""
        clouds = pool.spec.resources.clouds or self.options.clouds or self.settings.used_clouds()
        return bool(pool.spec.resources.gpus) and scaling.explicit(pool) and LOCAL not in clouds

    def _bring_up(self, pool: Pool) -> None:
        """Have an instance that can run this pool, prepared; in a thread of its own."""
        found: list[LiveInstance] = []

        def prepare() -> None:
            baggage = self._gather(pool.spec)  # what is wrong with it must cost nothing
            found.append(self._find(pool))
            env = self._ready(found[0], baggage.files, baggage.plan)
            with self.lock:
                prepared = Prepared(baggage.plan, env, baggage.code)
                self._prepared[(id(found[0]), id(pool))] = prepared
            self._ticker.after(scaling.window(pool), partial(self._leave_unused, found[0]))

        error = attempt(prepare)
        with self.lock:
            under_way = self._bringing[id(pool)]
            under_way.remove(found[0] if found else None)
            if not under_way:
                del self._bringing[id(pool)]
            others = bool(under_way or self._hosts_for(pool))
        if error is None:
            self._pump(pool)
            self._leave_preempted(found[0])
        elif found and found[0].taken and isinstance(error, InstanceError):
            self._elsewhere(pool, found[0], error, others)
        elif others and isinstance(error, Error):
            pool.alarms["alone"] = True  # it goes on with what it has
            self._reporter.notice(f"no further instance for {pool.spec.name}: {error.message}")
        else:
            if not isinstance(error, Error):
                self._reporter.stage("image", "failed", str(error))
            self._fail(pool, error, again=bool(found) and isinstance(error, InstanceError))

    def _elsewhere(
        self, pool: Pool, host: LiveInstance, error: InstanceError, others: bool
    ) -> None:
        """Its cloud took an instance back before anything could run there: the next one."""
        self._taken_early(host)
        with self.lock:
            told = [] if self._closed else ends.bereaved(pool, error, others, taken=True)
        deliver(told)
        self._pump(pool)

    def _find(self, pool: Pool) -> LiveInstance:
        """An instance that this pool does not have and nobody brings up for it yet."""

        def besides() -> list[LiveInstance | None]:
            return [*self._bringing[id(pool)], *self._hosts_for(pool)]

        def claim(host: LiveInstance) -> None:
            under_way = self._bringing[id(pool)]
            under_way[under_way.index(None)] = host

        return self._instance(pool.spec.resources, Search(id(pool), besides, claim))

    def _leave_unused(self, host: LiveInstance) -> None:
        """Give an instance back on which nothing runs, if the run has another one."""
        with self.lock:
            others = [one for one in self._hosts if one is not host and one.usable]
            if self._closed or host.load.count or not others:
                return
            if self._bringing:  # perhaps to this one
                self._ticker.after(LOOK_AGAIN, partial(self._leave_unused, host))
                return
            for key in [key for key in self._prepared if key[0] == id(host)]:
                del self._prepared[key]
            self._part_with(host)

    def _leave_preempted(self, host: LiveInstance) -> None:
        """Give an instance back that its cloud takes back anyway, once nothing runs on it: who
        waits for the cloud pays for nothing."""
        with self.lock:
            program = self._program
            busy = host.load.count or (program is not None and program[0].host is host)
            if self._closed or busy or not host.leaving:
                return
            for key in [key for key in self._prepared if key[0] == id(host)]:
                del self._prepared[key]
            self._part_with(host)

    def _gather(self, spec: FunctionSpec) -> _Baggage:
        plan = sources.plan_of(spec.image)
        code = sources.pickled(spec) if spec.by_value else []
        return _Baggage(sources.files_of(spec, self._reporter.notice), plan, code)

    def _fail(self, pool: Pool, error: BaseException, again: bool) -> None:
        """Nothing of this pool can run here: everything that waits is told why, or tried on
        another instance, within reason, when ``again``."""
        told: list[Arrival]
        with self.lock:
            again = again and not self._closed
            if again:
                told = ends.give_back(pool, pool.clear(), error)
            else:
                told = ends.fail_waiting(pool, Outcome(FAILURE, (), error))
        deliver(told)
        if again and pool.waiting:  # not for min_containers alone: that could go on for ever
            self._pump(pool)

    def _pump(self, pool: Pool) -> None:
        """Start and feed containers as the pool wants now."""
