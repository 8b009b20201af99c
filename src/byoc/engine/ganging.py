"""Gangs of a session: had together, made whole when an instance is lost, given back together.

To everything else a gang is one instance (:mod:`.gang`).
"""

from __future__ import annotations

import threading
from functools import partial
from typing import cast

from ..errors import InstanceError, PlacementError, ProviderError
from ..placement import Rules
from .bringup import LOOK_AGAIN
from .containers import Containers
from .ends import MAX_LOSSES
from .gang import Gang, Yard
from .live import LiveInstance
from .pool import Pool
from .slots import Slot

_MOVES = (PlacementError, ProviderError, InstanceError)
"""Why a place has no instance for a gang that lacks one."""


class Ganging(Containers):
    """The part of a session that has gangs. Functions with the same number of nodes that fit on the
    same instances share a gang, and take turns on it as others do on one instance."""

    _gangs: list[Gang]
    _finding: threading.Lock

    def ranked(self, container: str, rank: int) -> None:
        """A container's output is that of a rank."""
        self._reporter.ranked(container, rank)

    def pool_of(self, slot: Slot) -> Pool:
        """Whose container it is."""
        with self.lock:
            return next(pool for pool in self._pools.values() if slot.key in pool.slots)

    def ended(self, gang: Gang) -> None:
        """All containers of a gang are gone: whoever waits for its instances looks again."""
        for host in gang.hosts:
            if host.leaving:
                self._leave_preempted(host)
        self._feed_starving()

    def _hosts_for(self, pool: Pool) -> list[LiveInstance]:
        if pool.spec.nodes == 1:
            return super()._hosts_for(pool)
        found = [one for one in self._gangs if one.usable and (id(one), id(pool)) in self._prepared]
        return cast("list[LiveInstance]", found)  # each is one to everybody else

    # --- having one -----------------------------------------------------------------------

    def _find(self, pool: Pool) -> LiveInstance:
        if pool.spec.nodes == 1:
            return super()._find(pool)
        with self._finding:  # of two functions that lack one, the second finds the first one's
            gang = self._sharing(pool) or self._made(pool)
        with self.lock:
            host = cast("LiveInstance", gang)
            under_way = self._bringing[id(pool)]
            under_way[under_way.index(None)] = host
        return host

    def _sharing(self, pool: Pool) -> Gang | None:
        """A gang of the run on which this function can run as well."""
        rules = Rules.of(pool.spec.resources)
        with self.lock:
            able = [one for one in self._gangs if len(one.hosts) == pool.spec.nodes and one.usable]
            return next((one for one in able if not rules.refusal(one.offer)), None)

    def _made(self, pool: Pool) -> Gang:
        """A new gang, of what is left of a broken one where there is one."""
        rules = Rules.of(pool.spec.resources)
        with self.lock:
            broken = [
                one
                for one in self._gangs
                if len(one.hosts) == pool.spec.nodes and not (one.usable or one.replaced)
            ]
        before = next((one for one in reversed(broken) if not rules.refusal(one.offer)), None)
        hosts = self._complete(pool, list(before.hosts) if before is not None else [])
        with self.lock:
            if before is not None:
                before.replaced = True
            busy = before if before is not None and before.busy else None
            gang = Gang(hosts, cast("Yard", self), self._ids, busy)  # a whole session
            self._forget_gangs()
            self._gangs.append(gang)
            return gang

    def _forget_gangs(self) -> None:
        """Those that were replaced and of which no container is left."""
        for gang in [one for one in self._gangs if one.replaced and not one.busy]:
            self._drop_gang(gang)

    def _drop_gang(self, gang: Gang) -> None:
        self._gangs.remove(gang)
        for key in [key for key in self._prepared if key[0] == id(gang)]:
            del self._prepared[key]

    def _complete(self, pool: Pool, hosts: list[LiveInstance]) -> list[LiveInstance]:
        """The hosts of a gang, by rank: those that are left of an earlier one where they were."""
        size = pool.spec.nodes
        for tries in range(MAX_LOSSES, -1, -1):
            kept = [host if self._fit(host) else None for host in hosts]
            left = [host for host in kept if host is not None]
            if len(left) == size:
                return left
            if not left:
                hosts = self._muster(pool.spec.resources, size, key=id(pool))
                continue
            hosts = self._refill(pool, kept, left, last=not tries)
        raise InstanceError(
            f"the instances of {pool.spec.name} are lost faster than they can be replaced",
            hints=("ask for on-demand instances, with --on-demand",),
        )

    def _fit(self, host: LiveInstance) -> bool:
        with self.lock:
            return host.usable and host in self._hosts

    def _refill(
        self,
        pool: Pool,
        kept: list[LiveInstance | None],
        left: list[LiveInstance],
        last: bool,
    ) -> list[LiveInstance]:
        """New instances for the ranks that lack one, in the same place; all of them elsewhere when
        that has none: then the ones that are left are given back."""
        place, missing = left[0].offer.key(), len(kept) - len(left)
        self._reporter.notice(
            f"{pool.spec.name}: {missing} of {len(kept)} instances are launched anew in {place}"
        )
        try:
            fresh = iter(self._muster(pool.spec.resources, missing, place, id(pool)))
        except _MOVES as error:
            if last or self._closed:
                raise
            self._reporter.notice(f"the whole gang moves: {error.message}")
            with self.lock:
                for host in left:
                    self._part_with(host)
            return []
        return [host if host is not None else next(fresh) for host in kept]

    # --- what becomes of its instances ----------------------------------------------------

    def _member_lost(self, host: LiveInstance, error: InstanceError) -> None:
        """An instance is gone: the gang is, and what it held is tried again once it is whole."""
        with self.lock:
            hit = [one for one in self._gangs if host in one.hosts and one.lost is None]
            for gang in hit:
                gang.lost, gang.taken = error, host.taken
                self._reporter.notice(f"rank {gang.hosts.index(host)} of a gang is lost")
        self._host_lost(host, error)
        for gang in hit:
            self._host_lost(cast("LiveInstance", gang), error)
            gang.break_off(host, error)

    def _member_leaving(self, host: LiveInstance) -> None:
        """An instance is preempted in a moment: what the gang runs may finish, and another one is
        looked for now."""
        with self.lock:
            hit = [one for one in self._gangs if host in one.hosts and one.lost is None]
            for gang in hit:
                gang.leave(host)
        for gang in hit:
            self._host_leaving(cast("LiveInstance", gang))
        self._host_leaving(host)

    def _leave_unused(self, host: LiveInstance) -> None:
        """A gang's instances are given back together, when the run has others."""
        with self.lock:
            gang = next((one for one in self._gangs if id(one) == id(host)), None)
            if gang is not None:
                self._leave_gang(gang)
            elif not any(host in one.hosts and one.lost is None for one in self._gangs):
                super()._leave_unused(host)

    def _leave_gang(self, gang: Gang) -> None:
        """Under the lock."""
        others = [one for one in self._hosts if one not in gang.hosts and one.usable]
        used = gang.busy or any(one.load.count for one in gang.hosts)
        if self._closed or used or not others:
            return
        if self._bringing:
            again = partial(self._leave_unused, cast("LiveInstance", gang))
            self._ticker.after(LOOK_AGAIN, again)
            return
        self._drop_gang(gang)
        for one in gang.hosts:
            for key in [key for key in self._prepared if key[0] == id(one)]:
                del self._prepared[key]
            self._part_with(one)
