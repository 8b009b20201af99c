"""One rented machine: power, dead-man, agent, what it runs; and what a bookkeeper knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from byoc.resources import Offer

from .world import World

if TYPE_CHECKING:
    from .clouds import Cloud

LIVE = ("pending", "running", "ending", "stopped")
"""States in which it costs money."""


class Ear(Protocol):
    """The client's end of the link to a machine."""

    def heard(self, machine: Machine, ident: int) -> bool:
        """A result arrived; True when the answer reached the machine."""

    def warned(self, machine: Machine, seconds: float) -> None:
        """The machine says that it is going to be taken away."""


class Machine:
    """A machine. ``wanted``: since when nobody wants it, by the bookkeeper; None while somebody
    does. ``state``: pending, running, ending, stopped (it costs, and does nothing), gone."""

    __slots__ = (
        "agent",
        "boots",
        "born",
        "cloud",
        "deadline",
        "detail",
        "due",
        "ended",
        "failure",
        "full_disk",
        "id",
        "notice_until",
        "offer",
        "origin",
        "outbox",
        "owner",
        "reached",
        "session",
        "state",
        "stays",
        "story",
        "tags",
        "token",
        "unwanted",
        "vacant",
        "visible",
        "world",
    )

    def __init__(self, world: World, cloud: Cloud, number: int, offer: Offer) -> None:
        self.world = world
        self.cloud = cloud
        self.id = f"{cloud.name}-{number}"
        self.offer = offer
        self.tags: dict[str, str] = {}
        self.token = ""
        self.origin = ""
        self.owner = ""
        self.born = world.now
        self.visible = world.now
        self.state = "pending"
        self.detail = ""
        self.failure = ""
        self.ended = 0.0
        self.boots = True
        self.agent = "none"
        self.full_disk = False
        self.stays = False
        self.deadline = self.due = 0.0
        self.reached = False
        self.session: Ear | None = None
        self.outbox: list[int] = []
        self.notice_until = 0.0
        self.unwanted: float | None = None
        self.vacant = 0.0
        self.story: list[str] = []

    def say(self, *parts: object) -> None:
        """A line of its story, and of the world's."""
        self.world.log(self.id, *parts)
        self.story.append(f"{self.world.now:9.1f} " + " ".join(map(str, parts)))

    @property
    def alive(self) -> bool:
        """It costs money."""
        return self.state != "gone"

    @property
    def answers(self) -> bool:
        """Its SSH server would, if the network let it."""
        return self.state == "running" and self.boots

    @property
    def can_end_itself(self) -> bool:
        """Its dead-man was armed, and what it does ends the bill."""
        return self.boots and self.cloud.nets.deadman and not self.stays

    # -- its own life -------------------------------------------------------------------------

    def power(self, boot_lease: float) -> None:
        """It is switched on: the first act arms the dead-man."""
        if self.state != "pending":
            return
        self.state = "running"
        self.deadline = self.world.now + boot_lease
        if not self.boots:
            self.say("does not boot")
            return
        if self.cloud.nets.deadman:
            self._watch_at(self.deadline)
        knobs = self.cloud.knobs
        self.world.again_and_again(knobs.agent_crash, self._crash)
        self.world.again_and_again(knobs.agent_hang, self._hang)

    def _watch_at(self, moment: float) -> None:
        self.due = moment
        self.world.after(moment - self.world.now, self._watch, moment)

    def _watch(self, moment: float) -> None:
        """The dead-man: it looks at nothing but the lease."""
        if self.state != "running" or moment != self.due:
            return
        if self.world.now >= self.deadline - 1e-6:
            self.world.mark("deadman")
            self.end_itself("its lease ran out")
        else:
            self._watch_at(self.deadline)

    def end_itself(self, why: str) -> None:
        """Shut down, as far as that ends the bill on this cloud."""
        if self.state != "running":
            return
        if self.stays:
            self.world.mark(f"self-end-{self.cloud.self_end}")
            self.state, self.detail = "stopped", f"shut down by itself: {why}"
            self.say("STOPPED", why)
            return
        self.world.mark("self-end-gone")
        self.begin_to_end(self.world.rng.uniform(1, 10), why)

    def begin_to_end(self, seconds: float, why: str) -> None:
        """It stops working now and is gone in so many seconds."""
        if self.state in ("ending", "gone"):
            return
        self.state = "ending"
        self.say("ENDING", why)
        self.world.after(seconds, self.go, why)

    def go(self, why: str) -> None:
        """It is no more."""
        if self.state != "gone":
            self.state, self.ended, self.detail = "gone", self.world.now, why
            self.say("GONE", why)

    def take_away(self, notice: float) -> None:
        """The cloud wants it back, after a notice."""
        if self.state != "running" or self.world.healed:
            return
        self.world.mark(f"fault:preempt-{notice:.0f}")
        self.say("PREEMPTED", notice)
        self.notice_until = self.world.now + notice
        if notice and self.agent == "up" and self.session is not None:
            self.session.warned(self, notice)
        self.world.after(notice, self._taken)

    def _taken(self) -> None:
        if self.alive:
            self.failure = "preempted"
            self.go("taken back by the cloud")

    def _crash(self) -> None:
        if self.agent == "up" and self.state == "running":
            self.world.mark("fault:agent_crash")
            self.agent = "crashed"
            self.say("agent crashed")

    def _hang(self) -> None:
        if self.agent == "up" and self.state == "running":
            self.world.mark("fault:agent_hang")
            self.agent = "hung"
            self.say("agent hangs")

    # -- the agent ----------------------------------------------------------------------------

    def serve(self, ear: Ear, broken: bool) -> None:
        """A client starts a session; what an earlier one asked for is forgotten."""
        self.session, self.outbox, self.reached = ear, [], True
        if self.agent in ("none", "up"):
            self.agent = "crashed" if broken else "up"

    def renew(self, ear: Ear, seconds: float) -> bool:
        """A client's renewal, or idle window; whether the agent lives to hear it."""
        if self.state != "running" or self.agent != "up" or self.session is not ear:
            return False
        if self.full_disk:
            self.world.mark("fault:disk_full")  # heard, and not written: the dead-man sees nothing
        else:
            self.deadline = self.world.now + seconds
            if self.deadline < self.due and self.cloud.nets.deadman:
                self._watch_at(self.deadline)
        return True

    def compute(self, ear: Ear, ident: int, seconds: float) -> None:
        """Run an input of this session."""
        self.world.after(seconds, self._computed, ear, ident)

    def _computed(self, ear: Ear, ident: int) -> None:
        if self.state == "running" and self.agent == "up" and self.session is ear:
            self.outbox.append(ident)
            self.flush()

    def flush(self) -> None:
        """Send what was computed until the client has said that it has it."""
        ear = self.session
        if ear is None or self.state != "running" or self.agent != "up":
            return
        self.outbox = [ident for ident in self.outbox if not ear.heard(self, ident)]
