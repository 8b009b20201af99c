"""Seeded bugs: each one a mistake that others have made, put into the production decisions.

A bug replaces a figure of the policy, or stands around ``step``; nothing else of the simulation
knows of it. ``off`` names the nets that are switched off with it, where they would hide it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byoc.fleet.events import Event, Ledger, Life, Listed, Step
from byoc.fleet.life import step
from byoc.fleet.policy import Policy
from byoc.fleet.reap import Case, Verdict, judge

from .clouds import Nets
from .world import HOUR, World

if TYPE_CHECKING:
    from .shell import Client

POLICY = Policy(max_instances=6, max_hourly=24, boot_poll=1.0, boot_poll_max=8.0)
"""The usual one, with a small fleet, and looks far enough apart to be simulated quickly."""


class Bugs:
    """No bug: what the shell asks at the places where mistakes are made."""

    name = ""
    why = ""
    off: tuple[str, ...] = ()
    force: tuple[tuple[str, Any], ...] = ()
    """Faults that are switched off: those whose work the missing nets would do."""
    removes = False
    """The missing nets are the bug."""
    policy = POLICY
    lifetime = 1.0 * HOUR
    naive_clock = False
    accepts_late = False
    gives_back = True
    remembers = True
    marks = True
    sweeps_owner = ""

    def __init__(self, nets: Nets | None = None) -> None:
        self.nets = nets or Nets(**dict.fromkeys(self.off, False))

    @classmethod
    def held_back(cls) -> tuple[str, ...]:
        """The nets that are off in the sound world that this bug is compared with."""
        return () if cls.removes else cls.off

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        """The production reducer."""
        return step(ledger, event, now, policy)

    def token(self, token: str, run: str) -> str:
        """The token of an attempt."""
        return token

    def sent_token(self, token: str, world: World) -> str:
        """What the cloud gets as the token."""
        return token

    def judge(self, case: Case, now: float) -> Verdict:
        """The production reaper's judgement."""
        return judge(case, now)

    def writes(self, life: Life) -> bool:
        """Whether a life reaches the disk now."""
        return True

    def early_view(self, client: Client) -> Any:
        """What is read before a list is asked for; None to read it all afterwards."""
        return None

    def listed(self, client: Client, event: Listed, early: Any) -> Listed:
        """What the reducer is told of a list."""
        return event
