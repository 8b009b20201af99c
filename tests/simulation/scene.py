"""One seed: a world is put up, goes wrong for two hours, heals, and has to come to rest."""

from __future__ import annotations

from typing import Any, NamedTuple

from byoc import limits
from byoc.fleet.laws import validate
from byoc.providers.base import EXPIRES_TAG, OWNER_TAG, TOKEN_TAG

from .bugs import POLICY, Bugs
from .checks import Bookkeeper
from .clouds import HABITS, Cloud, Nets
from .faults import CALM, Knobs, draw
from .laptop import Laptop
from .machines import Machine
from .mutants import MUTANTS
from .network import Network
from .reaping import Place, Reaper
from .shell import Client
from .work import Tasks
from .world import HOUR, World

FAULTS = 1.0 * HOUR
REST = 1.5 * HOUR
"""Seconds of faults, and seconds to come to rest afterwards."""
TASKS = 8
RETURN_EVERY = 300.0
"""Seconds between two looks of a user who has come back, when all is done."""


class Setup(NamedTuple):
    """How a seed is simulated. ``bug``: name of a seeded one. ``off``: nets that are switched off.
    ``knobs``: instead of those drawn from the seed; ``force``: some of them. ``crash_at``: the
    moment at which the process dies. ``strict``: nothing may be left, whoever could have ended it.
    """

    bug: str = ""
    off: tuple[str, ...] = ()
    knobs: Knobs | None = None
    trace: bool = False
    tasks: int = TASKS
    clouds: tuple[str, ...] = tuple(HABITS)
    crash_at: int = 0
    force: tuple[tuple[str, Any], ...] = ()
    strict: bool = False


class Outcome(NamedTuple):
    """What came of a seed. ``bad``: broken promises by checker. ``overruns``: see
    :class:`~.checks.Bookkeeper`; ``by_itself``: those where nobody came back. ``requeues``: seconds
    from the end of a preempted machine until what it ran was queued again. ``sums``: to add up."""

    bad: dict[str, str]
    digest: str
    knobs: Knobs
    overruns: list[float]
    by_itself: list[float]
    requeues: list[float]
    marks: dict[str, int]
    sums: dict[str, float]
    lines: list[str]


class Seat:
    """A user in front of a laptop, who starts a client whenever there is something to do."""

    def __init__(self, scene: Scene, number: int, tasks: Tasks) -> None:
        self.scene, self.number, self.tasks = scene, number, tasks
        self.client: Client | None = None
        self.down_until = 0.0
        self.given_up = False
        self.starts = 0
        world = scene.world
        world.again_and_again(scene.knobs.crash, self._crash)
        world.again_and_again(scene.knobs.cancel, self._cancel)
        world.after(0.0, self._sit)

    def _sit(self) -> None:
        """Look every few seconds whether a client should run and does not."""
        scene = self.scene
        world = scene.world
        client = self.client
        alive = client is not None and client.alive
        if client is not None and client.crashed:
            self.client = None
            self.died()
        due = world.now >= self.down_until and not scene.laptop.asleep
        if not alive and due and not self.given_up and (self.tasks.open() or scene.returned):
            self._start()
        world.after(10.0, self._sit)

    def _start(self) -> None:
        scene = self.scene
        self.starts += 1
        number = self.number * 1000 + self.starts
        if scene.world.chance(scene.knobs.ledger_lost) and self.starts > 1:
            scene.laptop.lose(sum(len(cloud.living()) for cloud in scene.clouds.values()))
        self.client = Client(scene.laptop, scene.clouds, scene.net, self.tasks, scene.bugs, number)
        self.client.start()
        self.down_until = scene.world.now + RETURN_EVERY
        if scene.world.chance(scene.knobs.crash_loop):
            scene.world.mark("fault:crash_loop")
            scene.world.after(scene.world.rng.uniform(2, 40), self.kill, self.client)

    def _crash(self) -> None:
        if self.client is not None and self.client.alive:
            self.kill(self.client)

    def _cancel(self) -> None:
        """Ctrl-C: the run is given up, whatever it is doing, and begun again later."""
        if self.client is not None and self.client.alive:
            self.scene.world.mark("fault:cancel")
            self.client.cancel()

    def kill(self, client: Client) -> None:
        """The process dies between two instructions; the user comes back later, or never."""
        scene = self.scene
        if not client.alive or scene.world.healed:
            return
        scene.world.mark("fault:crash")
        client.crash("killed")

    def died(self) -> None:
        """It died; when does the user start it again?"""
        scene = self.scene
        self.down_until = scene.world.now + scene.knobs.downtime
        if scene.knobs.never_returns:
            scene.world.mark("fault:never_returns")
            self.given_up = True


class Scene:
    """All of one seed's world."""

    def __init__(self, seed: int, setup: Setup, bugs: Bugs) -> None:
        self.world = World(seed, trace=setup.trace)
        self.knobs = draw(self.world.rng) if setup.knobs is None else setup.knobs
        self.knobs = self.knobs._replace(**dict(setup.force))
        self.bugs, self.setup = bugs, setup
        self.returned = False
        knobs, world = self.knobs, self.world
        self.clouds = {name: Cloud(world, name, knobs, bugs.nets) for name in setup.clouds}
        self.net = Network(world, knobs)
        self.laptop = Laptop(world, "owner-1", knobs, POLICY.max_instances)
        self.laptop.crash_at = setup.crash_at
        self.tasks = [Tasks(world) for _ in range(knobs.clients)]
        self.book = Bookkeeper(world, self.clouds, [self.laptop], self.tasks)
        self.laptop.fail = self.book.fail
        self.seats = [Seat(self, n, tasks) for n, tasks in enumerate(self.tasks)]
        for number in range(setup.tasks):
            seconds = world.rng.choice((20.0, 120.0, 120.0, 600.0, 1500.0))
            tasks = self.tasks[number % len(self.tasks)]
            world.after(world.rng.uniform(0, FAULTS * 0.8), tasks.add, seconds)
        self._strangers()
        if bugs.nets.reaper:
            world.again_and_again(knobs.reaper, self._reap)

    def _reap(self) -> None:
        """Somebody runs `byoc reap`: on the laptop, or elsewhere with credentials alone."""
        world = self.world
        skew = world.rng.choice((0.0, -200.0, 200.0))
        if world.rng.random() < 0.5 and not (self.laptop.asleep or self.laptop.offline):
            here: Laptop | None = self.laptop
            skew = self.laptop.skew
        else:
            here = None
        Reaper(self.clouds, here, Place(world, skew), self.bugs, self.book).run()

    def _strangers(self) -> None:
        """Machines of others in the same accounts."""
        world, knobs = self.world, self.knobs
        clouds = list(self.clouds.values())
        for number in range(knobs.foreign):
            world.mark("fault:foreign")
            cloud = clouds[number % len(clouds)]
            self._stranger(cloud, {"name": f"somebody-{number}"} if number % 2 else {})
        if knobs.forged:
            for _ in range(knobs.forged):
                world.after(world.rng.uniform(10, FAULTS), self._forge)
        if knobs.second_owner:
            world.mark("fault:second_owner")
            for cloud in clouds:
                self._stranger(cloud, {OWNER_TAG: "owner-2", TOKEN_TAG: f"their-{cloud.name}"})

    def _stranger(self, cloud: Cloud, tags: dict[str, str]) -> None:
        one = cloud.place(cloud.offers()[0], tags, tags.get(TOKEN_TAG, ""))
        one.state = "running"
        self.book.outsider(one)
        if TOKEN_TAG in tags:
            self._hold_theirs(one)

    def _hold_theirs(self, one: Machine) -> None:
        """Their client lives, and renews its lease."""
        one.tags[EXPIRES_TAG] = str(int(self.world.wall + limits.TAG_LEASE))
        self.world.after(limits.TAG_LEASE / 2, self._hold_theirs, one)

    def _forge(self) -> None:
        """Somebody puts our tags on a machine of theirs."""
        self.world.mark("fault:forged")
        cloud = self.world.rng.choice(list(self.clouds.values()))
        lives = list(self.laptop.disk.lives.values())
        token = self.world.rng.choice(lives).token if lives else "0" * 32
        one = cloud.place(cloud.offers()[0], {OWNER_TAG: "owner-1", TOKEN_TAG: token}, "f" * 20)
        one.state = "running"
        self.book.outsider(one)

    # -- the course of it ---------------------------------------------------------------------

    def play(self) -> Outcome:
        """Faults, healing, rest."""
        world, knobs = self.world, self.knobs
        world.run(FAULTS)
        world.healed = True
        world.log("HEALED")
        for cloud in self.clouds.values():
            cloud.heal()
        self.net.heal()
        self.laptop.heal()
        nobody = all(seat.given_up for seat in self.seats)
        if not nobody:
            for seat in self.seats:
                seat.given_up = False
            self.returned = True
        if knobs.reaper and self.bugs.nets.reaper:
            for pause in (600.0, 2400.0, 3600.0, 4800.0):
                world.after(pause, self._reap)
        world.run(FAULTS + REST)
        reaped = bool(knobs.reaper) and self.bugs.nets.reaper
        self.book.conclude(nobody=nobody, all_of_it=reaped or self.setup.strict)
        for text in validate(self.laptop.disk.lives):
            self.book.fail("ledger", text)
        return self._outcome(nobody=nobody)

    def _outcome(self, *, nobody: bool) -> Outcome:
        world, book = self.world, self.book
        tasks = [task for seat in self.tasks for task in seat.all.values()]
        sums = {
            "events": float(world.events),
            "machines": float(book.made),
            "calls": float(sum(sum(one.calls.values()) for one in self.clouds.values())),
            "tasks": float(len(tasks)),
            "begun": float(sum(task.begun for task in tasks)),
            "losses": float(sum(task.losses for task in tasks)),
            "never-returned": float(nobody),
            "residual": float(book.residual),
            "hours": (FAULTS + REST) / HOUR,
            "most-peak": float(book.peak),
            "most-vacant": max(book.vacancies, default=0.0),
            "most-points": float(self.laptop.points),
        }
        return Outcome(
            bad=book.bad,
            digest=world.digest,
            knobs=self.knobs,
            overruns=[] if nobody else book.overruns,
            by_itself=book.by_itself if nobody else [],
            requeues=[seconds for tasks in self.tasks for seconds in tasks.requeues],
            marks=world.marks,
            sums=sums,
            lines=world.lines or [],
        )


def simulate(seed: int, setup: Setup = Setup()) -> Outcome:  # noqa: B008 - an immutable value
    """One seed, from beginning to end; the same seed gives the same outcome."""
    kind = MUTANTS[setup.bug] if setup.bug else Bugs
    off = dict.fromkeys((*kind.off, *setup.off), False)
    setup = setup._replace(force=(*kind.force, *setup.force))
    return Scene(seed, setup, kind(Nets(**off))).play()


CALM_SETUP = Setup(knobs=CALM)
