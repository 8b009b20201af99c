"""The user's tasks, and one client's way of having them done: the production queue and slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from byoc.engine import dispatch, ends
from byoc.engine.inputs import VALUE, Input, Outcome, deliver
from byoc.engine.pool import Pool
from byoc.engine.slots import READY, STOPPING, Slot
from byoc.engine.spec import FunctionSpec, Source
from byoc.errors import ConnectionLostError
from byoc.resources import Resources

from .machines import Machine
from .world import World

if TYPE_CHECKING:
    from .shell import Client

LOST = ConnectionLostError("the instance was lost")


class Task:
    """One item of the user's map. ``accepted``: how often a result was taken for it."""

    __slots__ = ("accepted", "begun", "id", "losses", "seconds")

    def __init__(self, ident: int, seconds: float) -> None:
        self.id = ident
        self.seconds = seconds
        self.accepted = 0
        self.begun = 0
        self.losses = 0


class Tasks:
    """What the user wants, kept by the user: it outlives every client. ``requeues``: for each
    preempted machine, seconds from its end until what it ran was queued again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all: dict[int, Task] = {}
        self.requeues: list[float] = []
        self.listeners: list[Callable[[Task], None]] = []

    def add(self, seconds: float) -> None:
        """The user asks for one more."""
        task = Task(len(self.all) + 1, seconds)
        self.all[task.id] = task
        for listener in self.listeners:
            listener(task)

    def open(self) -> list[Task]:
        """Those without a result."""
        return [task for task in self.all.values() if not task.accepted]


def _spec() -> FunctionSpec:
    no_image: Any = None  # nothing is built in a simulation
    return FunctionSpec(
        "app", "work", print, Source("m", "f", None), no_image, Resources(), dict, 3600.0, 60.0
    )


class Engine:
    """One client's queue: inputs are tried until a result is taken, once each."""

    def __init__(self, client: Client, tasks: Tasks) -> None:
        self._client = client
        self._tasks = tasks
        self._world = tasks.world
        self._by_input: dict[int, Task] = {}
        self._numbers = 0
        self.pool = Pool(_spec())
        self.open: dict[int, Task] = {}

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._numbers += 1
        item = Input(self._numbers, (b"x",), self._done)
        self._by_input[item.id] = self.open[task.id] = task
        self.pool.enqueue([item])

    def _done(self, item: Input, outcome: Outcome) -> None:
        task = self._by_input.pop(item.id)
        if outcome.failed:  # lost so often that it was given up: the user asks once more
            self._world.mark("input-given-up")
            self.submit(task)
            return
        self.open.pop(task.id, None)
        task.accepted += 1
        self._world.log("RESULT", task.id, outcome.where)

    # -- containers ---------------------------------------------------------------------------

    def host(self, link: Link) -> None:
        """A machine is there: one container on it."""
        self.pool.add(link.slot, None)  # type: ignore[arg-type]  # loads matter to scaling only
        self.pool.set_state(link.slot, READY, self._world.now)

    def feed(self) -> None:
        """Send what waits to those that have room."""
        for slot in list(self.pool.hungry.values()):
            link: Link = slot.host
            for item in dispatch.feed(self.pool, slot, self._world.now):
                task = self._by_input[item.id]
                task.begun += 1
                link.send(item.id, task.seconds)

    def results(self, link: Link, ident: int) -> None:
        """The machine says that this input is done."""
        if self._client.bugs.accepts_late and ident in self._by_input:
            self._by_input[ident].accepted += 1
        arrivals, _ = dispatch.results(
            self.pool, link.slot, [[ident, VALUE, 1, 1000]], [b"y"], self._world.now
        )
        deliver(arrivals)
        self.feed()

    def drain(self, link: Link) -> None:
        """It is about to leave: nothing more goes there."""
        if link.slot.key in self.pool.slots:
            self.pool.set_state(link.slot, STOPPING, self._world.now)

    def move(self, link: Link, *, lost: bool) -> None:
        """It is gone, or too late for what it runs: that goes back to the queue."""
        held = [self._by_input[i] for i in link.slot.inflight if i in self._by_input]
        for task in held:
            task.losses += 1
        if held and link.machine.notice_until:
            self._tasks.requeues.append(self._world.now - link.machine.notice_until)
        if not self._client.bugs.gives_back:
            self.pool.remove(link.slot)
            return
        if lost:
            deliver(ends.lost(self.pool, link.slot, LOST))
        else:
            deliver(ends.give_back(self.pool, self.pool.remove(link.slot)))
        self.feed()

    def abandon(self) -> None:
        """The client dies: what runs is lost with it."""
        for slot in self.pool.slots.values():
            for ident in slot.inflight:
                if ident in self._by_input:
                    self._by_input[ident].losses += 1

    @property
    def wanted(self) -> int:
        """Machines that there is work for."""
        return len(self.open)


class Link:
    """The client's connection to one machine that it holds. ``good``: when it last answered."""

    def __init__(self, client: Client, token: str, machine: Machine) -> None:
        self.client = client
        self.token = token
        self.machine = machine
        self.good = client.world.now
        self.closed = False
        self.draining = False
        self.gone_since = client.world.now
        self.slot = Slot(self, 1, token[:8])

    def up(self, *, out: bool) -> bool:
        """Whether what is sent arrives, and somebody is there to read it."""
        client = self.client
        return client.working and client.net.up(self.machine, out=out)

    def send(self, ident: int, seconds: float) -> None:
        """An input on its way; a cut loses nothing, it only takes until the link is back."""
        if self.closed:
            return
        if self.up(out=True):
            self.machine.compute(self, ident, seconds)
        else:
            self.client.world.after(2.0, self.send, ident, seconds)

    def heard(self, machine: Machine, ident: int) -> bool:
        """A result; True when the machine learns that it arrived."""
        if not self.up(out=False):
            return False
        world, engine = self.client.world, self.client.engine
        self.good = world.now
        engine.results(self, ident)
        if world.chance(self.client.knobs.duplicate):
            world.mark("fault:result-twice")
            engine.results(self, ident)
        return self.up(out=True)

    def warned(self, machine: Machine, seconds: float) -> None:
        """A notice of preemption."""
        if self.up(out=False) and not self.closed:
            self.client.noticed(self, seconds)
