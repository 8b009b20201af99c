"""The bookkeeper, who sees everything: what costs money, who wants it, and what was broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byoc import limits
from byoc.fleet.leases import lease_of
from byoc.fleet.reap import SKEW
from byoc.providers.base import RUN_TAG

from .bugs import POLICY
from .clouds import Cloud
from .machines import Machine
from .work import Tasks
from .world import HOUR, World

if TYPE_CHECKING:
    from .shell import Laptop

LOOK_EVERY = 10.0
"""Seconds between two looks at who wants what."""
BOUND = limits.BOOT_LEASE + 420.0
"""Seconds that a machine may cost money after nobody wants it any more, while there is somebody who
could end it: itself, or a client that runs and reaches its cloud. The longest lease, and what a
sweep, a lagging list and a slow cloud take."""

UNCOUNTED = 6
"""Machines of a run that its ledger cannot count: made though the cloud said no, or taken over by
another run."""

STEPS = 1200.0
"""Seconds by which steps of its clock may shorten a client's hour."""


class Bookkeeper:
    """Watches the clouds. ``bad``: what was broken, by the name of the checker, with the first
    place; ``overruns``: seconds that each of our machines cost without being wanted;
    ``vacancies``: those of them in which somebody could have ended it; ``by_itself``: the overruns
    of those that can end themselves."""

    def __init__(
        self, world: World, clouds: dict[str, Cloud], laptops: list[Laptop], tasks: list[Tasks]
    ) -> None:
        self.world, self.clouds, self.laptops, self.tasks = world, clouds, laptops, tasks
        self.bad: dict[str, str] = {}
        self.overruns: list[float] = []
        self.by_itself: list[float] = []
        self.vacancies: list[float] = []
        self.residual = 0
        self.peak = 0
        self.made = 0
        self.outsiders: set[str] = set()
        self._of_run: dict[str, list[float]] = {}
        self._by_token: dict[str, list[Machine]] = {}
        self._watched: list[Machine] = []
        for cloud in clouds.values():
            cloud.watchers.append(self._saw)
        world.after(LOOK_EVERY, self._look)

    def fail(self, checker: str, *what: object) -> None:
        """A promise was broken."""
        text = f"{self.world.now:.1f} " + " ".join(map(str, what))
        if checker not in self.bad:
            self.world.log("BROKEN", checker, text)
            self.bad[checker] = text

    def outsider(self, machine: Machine) -> None:
        """Somebody else's machine: nobody of ours may touch it."""
        self.outsiders.add(machine.id)

    # -- at every instant ---------------------------------------------------------------------

    def _saw(self, one: Machine, what: str, detail: Any) -> None:
        if what == "made":
            self._born(one)
        else:
            self._killed(one, detail)

    def _born(self, one: Machine) -> None:
        self.made += 1
        same = [other for other in self._by_token.get(one.token, ()) if other.alive]
        if same:
            self.fail("duplicate", one.id, "beside", same[0].id)
        self._by_token.setdefault(one.token, []).append(one)
        self._watched = [other for other in self._watched if other.alive]
        self._watched.append(one)
        self._count_launch(one)
        for laptop in self.laptops:
            if laptop.owner == one.owner:
                mine = sum(other.owner == one.owner for other in self._watched)
                self.peak = max(self.peak, mine)
                if mine > laptop.cap:
                    self.fail("cap", mine, "machines, allowed:", laptop.cap)

    def _count_launch(self, one: Machine) -> None:
        """No run makes more than its limit within an hour."""
        made = self._of_run.setdefault(one.tags.get(RUN_TAG, ""), [])
        made.append(self.world.now)
        recent = sum(at > self.world.now - HOUR + STEPS for at in made)
        if recent > POLICY.max_hourly + UNCOUNTED:
            self.fail("launch-limit", recent, "for one run within an hour")

    def judged(self, one: Machine, by: str) -> None:
        """A reaper means to end it: may it?"""
        self._killed(one, by)

    def _killed(self, one: Machine, by: Any) -> None:
        """Somebody asks the cloud to end it: may they?"""
        if one.id in self.outsiders:
            self.fail("wrongful", one.id, "is somebody else's, ended by", by)
            return
        if one.state not in ("pending", "running"):
            return
        until = lease_of(one.tags).until
        if until and self.world.wall > until - 2 * SKEW:
            return  # its lifetime is over, or nearly, by whoever's clock
        for laptop in self.laptops:
            if laptop.owner == one.owner and (why := laptop.wants(one)):
                self.fail("wrongful", one.id, why, "ended by", by)

    def _look(self) -> None:
        """Who wants what, every few seconds."""
        now = self.world.now
        still = []
        for one in self._watched:
            if not one.alive:
                self._close(one)
                continue
            still.append(one)
            if self._wanted(one):
                one.unwanted, one.vacant = None, 0.0
            elif one.unwanted is None:
                one.unwanted, one.vacant = now, 0.0
            elif self._somebody(one):
                one.vacant += LOOK_EVERY
                if one.vacant > BOUND:
                    self.fail("overrun", one.id, f"not wanted since {one.unwanted:.0f}")
        self._watched = still
        for laptop in self.laptops:
            if laptop.serving:
                self._look_at_links(laptop)
        self.world.after(LOOK_EVERY, self._look)

    def _look_at_links(self, laptop: Laptop) -> None:
        """What a machine that is gone ran has to be queued again soon."""
        for client in laptop.clients:
            for link in client.links.values():
                if link.machine.alive or not link.slot.inflight:
                    link.gone_since = self.world.now
                elif self.world.now - link.gone_since > limits.LEASE + 60:
                    self.fail("loss-late", link.machine.id, "is gone, and nobody noticed")

    def _close(self, one: Machine) -> None:
        over = one.ended - one.unwanted if one.unwanted is not None else 0.0
        self.overruns.append(max(0.0, over))
        self.vacancies.append(one.vacant)
        if over > 0 and one.can_end_itself:
            self.by_itself.append(over)

    def _wanted(self, one: Machine) -> bool:
        return one.state != "stopped" and any(
            laptop.owner == one.owner and laptop.wants(one) for laptop in self.laptops
        )

    def _somebody(self, one: Machine) -> bool:
        """Whether there is anybody who could end it now."""
        if one.can_end_itself and one.state == "running":
            return True
        if one.cloud.down or one.cloud.shut or self._forgotten(one):
            return False
        return any(laptop.owner == one.owner and laptop.serving for laptop in self.laptops)

    def _forgotten(self, one: Machine) -> bool:
        return any(one.token in laptop.forgotten for laptop in self.laptops)

    # -- at the end ---------------------------------------------------------------------------

    def conclude(self, *, nobody: bool, all_of_it: bool) -> None:
        """What is left when all has come to rest. ``nobody``: no client ever came back, so that
        only the machine itself, its cloud's time limit and a reaper could end it; ``all_of_it``:
        nothing may be left even so."""
        for one in self._watched:
            if not one.alive:
                self._close(one)
                continue
            if self._wanted(one):
                continue
            alone = nobody or self._forgotten(one)
            if alone and not all_of_it and not one.can_end_itself:
                self.residual += 1
            else:
                self.fail("leak", one.id, one.state, "token", one.token[:8])
        for machine_id in sorted(self.outsiders):
            machine = self.clouds[machine_id.split("-", maxsplit=1)[0]].machines[machine_id]
            if machine.state == "ending":
                self.fail("wrongful", machine_id, "is somebody else's and was ended")
        self._conclude_tasks(nobody=nobody)

    def _conclude_tasks(self, *, nobody: bool) -> None:
        for task in (task for seat in self.tasks for task in seat.all.values()):
            if task.accepted > 1:
                self.fail("result-twice", "task", task.id, "accepted", task.accepted)
            if task.begun > 1 + task.losses:
                self.fail("run-again", "task", task.id, "begun", task.begun, "lost", task.losses)
            if not task.accepted and not nobody:
                self.fail("not-finished", "task", task.id, "begun", task.begun)
