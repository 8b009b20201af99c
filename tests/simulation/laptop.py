"""A client's computer: its data folder, its clock, its lid; processes come and go on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from byoc.fleet.events import CLOSED, ENDING, IDLE, OPEN, UNSURE, Life
from byoc.fleet.ledger import Rows, life_of, rows_of
from byoc.providers.base import Instance
from byoc.state import Intent, Refusal

from .faults import Knobs
from .machines import Machine
from .world import EPOCH, World

if TYPE_CHECKING:
    from .reaping import Reaper
    from .shell import Client


class Died(Exception):
    """The process is no more; whatever it was doing stops here."""


def _unheard(checker: str, *what: object) -> None:
    raise AssertionError(f"nobody listens: {checker} {what}")


class Folder:
    """What is on disk, and survives every process: the rows of lives as the production ledger makes
    them, refusals, numbers. It is also the part of the journal that the production memory of
    refusals uses. ``lives``: what the rows tell."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        self.rows: dict[str, Rows] = {}
        self.known: dict[str, Refusal] = {}
        self.listed: set[str] = set()
        self.numbers = 0
        self.full: dict[str, tuple[float, float]] = {}

    def intend(self, intent: Intent) -> None:
        """The will to rent."""
        self.rows[intent.token] = Rows(intent)

    def would(self, life: Life, instance: Instance | None) -> Rows:
        """The rows as this life wants them."""
        return rows_of(life, self.rows.get(life.token, Rows()), instance)

    def put(self, token: str, rows: Rows) -> None:
        """Write rows, where there is anything to write."""
        if rows.intent is None and rows.row is None:
            return
        known = self.rows.get(token, Rows())
        self.rows[token] = Rows(rows.intent or known.intent, rows.row or known.row)
        self.lives[token] = life_of(token, self.rows[token])

    def clear(self) -> None:
        """All is deleted."""
        self.lives.clear()
        self.rows.clear()
        self.known.clear()
        self.listed.clear()
        self.full.clear()

    def places(self, cloud: str, since: float) -> bool:
        """Whether a sweep looks at a cloud: something of ours is there, or was lately; or nobody
        has looked since the journal is new."""
        return cloud not in self.listed or any(
            life.provider == cloud and (life.state in OPEN or life.ended > since)
            for life in self.lives.values()
        )

    def refusals(self, now: float) -> list[Refusal]:
        """Those that hold now."""
        return [one for one in self.known.values() if one.until > now]

    def remember(self, refusal: Refusal) -> Refusal:
        """Keep one."""
        self.known[refusal.key] = refusal
        return refusal

    def forget(self, keys: list[str]) -> None:
        """Drop these."""
        for key in keys:
            self.known.pop(key, None)


class Laptop:
    """One installation. ``locks``: launch token -> the process that has its lock. ``forgotten``:
    tokens of a journal that was lost. Nothing here proves any more that their clients are dead (a
    copy of the folder may be at work elsewhere), so that only leases and reapers end them."""

    def __init__(self, world: World, owner: str, knobs: Knobs, cap: int) -> None:
        self.world, self.owner, self.knobs, self.cap = world, owner, knobs, cap
        self.disk = Folder()
        self.locks: dict[str, Client | Reaper] = {}
        self.clients: list[Client] = []
        self.offline = False
        self.asleep_until = 0.0
        self.put_off: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.slept = 0.0
        self.skew = knobs.skew
        self.set_forward = -1e9
        self.forgotten: dict[str, None] = {}
        self.points = 0
        self.crash_at = 0
        self.fail: Callable[..., None] = _unheard
        if knobs.skew:
            world.mark("fault:skew")
        world.again_and_again(knobs.offline, self._go_offline)
        world.again_and_again(knobs.sleep, self._sleep)
        world.again_and_again(knobs.step, self._step)

    def __str__(self) -> str:
        return f"a client of {self.owner}"

    # -- time ---------------------------------------------------------------------------------

    def wall(self) -> float:
        """What its clock shows."""
        return EPOCH + self.world.now + self.skew

    def mono(self) -> float:
        """Seconds that never step; they stand still while it sleeps."""
        return self.world.now - self.slept

    @property
    def asleep(self) -> bool:
        """Its lid is closed."""
        return self.world.now < self.asleep_until

    @property
    def serving(self) -> bool:
        """A client runs here and reaches the world."""
        return not self.asleep and not self.offline and any(one.alive for one in self.clients)

    def heal(self) -> None:
        """All faults are over."""
        self.offline = False
        if self.asleep:
            self.slept -= self.asleep_until - self.world.now
            self.asleep_until = self.world.now
            self._wake()

    def _go_offline(self) -> None:
        self.world.mark("fault:offline")
        self.world.log("OFFLINE", self.owner)
        self.offline = True
        self.world.after(self.knobs.offline_length, self._go_online)

    def _go_online(self) -> None:
        self.offline = False

    def _sleep(self) -> None:
        if self.asleep:
            return
        length = self.knobs.sleep_length
        self.world.mark("fault:sleep-long" if length > 3600 else "fault:sleep")
        self.world.log("SLEEP", self.owner, length)
        self.asleep_until = self.world.now + length
        self.slept += length
        self.world.after(length, self._wake)

    def _wake(self) -> None:
        """What was due meanwhile happens now."""
        put_off, self.put_off = self.put_off, []
        for act, args in put_off:
            self.world.after(0.0, act, *args)

    def _step(self) -> None:
        self.world.mark("fault:clock-step")
        self.disk.full.clear()  # what it remembers by the clock may be over now
        before = self.skew
        self.skew = self.world.rng.choice((-600.0, -60.0, 0.0, 60.0, 600.0))
        self.world.log("STEP", self.owner, self.skew - before)
        if self.skew > before:
            self.set_forward = self.world.now

    # -- the disk -----------------------------------------------------------------------------

    def lose(self, live: int) -> None:
        """The journal is deleted; so many machines live that only their tags tell of."""
        self.cap += live
        self.forgotten.update(dict.fromkeys((*self.disk.lives, *self.locks)))
        self.world.mark("fault:ledger_lost")
        self.world.log("LEDGER LOST", self.owner)
        self.disk.clear()

    def point(self, client: Client, what: str) -> None:
        """A moment between two acts, at which a process may die."""
        self.points += 1
        if self.points == self.crash_at:
            self.world.mark(f"crash:{what}")
            client.crash(what)
            raise Died

    # -- what the bookkeeper asks --------------------------------------------------------------

    def wants(self, machine: Machine) -> str:
        """Why the machine is wanted; empty when nobody here wants it."""
        client = self.locks.get(machine.token)
        if client is not None and client.alive and not self.asleep:
            life = client.view(machine.token)
            done = life is None or life.state in (ENDING, UNSURE, *CLOSED)
            if life is not None and not done and life.id in ("", machine.id):
                return f"is {life.state}"
            return ""
        life = self.disk.lives.get(machine.token)
        if life is not None and life.state == IDLE and life.id == machine.id:
            return "is warm" if self.wall() < life.idle_until and machine.answers else ""
        return ""
