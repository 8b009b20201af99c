"""`byoc reap`, by hand or from elsewhere: the production judgement over what an account shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from byoc.errors import ProviderError
from byoc.fleet.events import IDLE, Life
from byoc.fleet.reap import ASK, NO, NOT_HERE, NOTHING_HEARD, YES, Case, Known, Verdict
from byoc.providers.base import ANY, OWNER_TAG, TOKEN_TAG, Instance

from .clouds import Cloud
from .world import EPOCH, World

if TYPE_CHECKING:
    from .bugs import Bugs
    from .checks import Bookkeeper
    from .laptop import Laptop


class Place:
    """Where a reaper runs when it is not on the user's laptop: a network, and a clock."""

    offline = False

    def __init__(self, world: World, skew: float) -> None:
        self.world, self.skew = world, skew

    def __str__(self) -> str:
        return "somebody elsewhere"

    def wall(self) -> float:
        """What its clock shows."""
        return EPOCH + self.world.now + self.skew


class Reaper:
    """One run. ``laptop``: whose data folder it has, None for an empty one."""

    alive = True

    def __init__(
        self,
        clouds: dict[str, Cloud],
        laptop: Laptop | None,
        place: Place,
        bugs: Bugs,
        book: Bookkeeper,
    ) -> None:
        self._clouds, self._laptop, self._place, self._bugs = clouds, laptop, place, bugs
        self._book = book
        self._world = place.world

    def __str__(self) -> str:
        return "a reaper here" if self._laptop else "a reaper elsewhere"

    def view(self, token: str) -> Life | None:
        """It wants nothing for itself."""
        return None

    def run(self) -> None:
        """Look everywhere, at what anybody's byoc has made."""
        self._world.mark("reaper-here" if self._laptop else "reaper-elsewhere")
        for cloud in self._clouds.values():
            cloud.ask(self._place, "list", self._told(cloud), {OWNER_TAG: ANY})

    def _told(self, cloud: Cloud) -> Callable[[Any, ProviderError | None], None]:
        def told(found: list[Instance] | None, error: ProviderError | None) -> None:
            for one in found or ():
                verdict = self._judge(cloud, one)
                self._world.mark(f"verdict-{verdict.word}")
                if verdict.ends:
                    cloud.ask(self._place, "get", self._looked_again(cloud), one.id)

        return told

    def _looked_again(self, cloud: Cloud) -> Callable[[Any, ProviderError | None], None]:
        """Right before the end: with its tags as they are now, and holding its lock."""

        def told(one: Instance | None, error: ProviderError | None) -> None:
            if one is None or one.state == "gone" or not self._judge(cloud, one).ends:
                return
            self._book.judged(cloud.machines[one.id], str(self))
            token, laptop = one.tags.get(TOKEN_TAG, ""), self._laptop
            if laptop is not None and laptop.locks.setdefault(token, self) is not self:
                return

            def done(found: object, error: ProviderError | None) -> None:
                if laptop is not None and laptop.locks.get(token) is self:
                    del laptop.locks[token]

            cloud.ask(self._place, "terminate", done, one.id)

        return told

    def _judge(self, cloud: Cloud, one: Instance) -> Verdict:
        now = self._place.wall()
        case = Case(one, self._known(one), stays=cloud.self_end != "gone", origins=True)
        verdict = self._bugs.judge(case, now)
        if verdict.word == ASK:
            verdict = self._bugs.judge(case._replace(answer=self._answer(cloud, one)), now)
        return verdict

    def _known(self, one: Instance) -> Known:
        laptop, token = self._laptop, one.tags.get(TOKEN_TAG, "")
        if laptop is None or one.tags.get(OWNER_TAG) != laptop.owner:
            return NOT_HERE
        life = laptop.disk.lives.get(token)
        if life is None:
            return Known(held=token in laptop.locks)
        until = life.idle_until if life.state == IDLE else 0.0
        return Known(here=True, held=token in laptop.locks, idle_until=until, run=life.run)

    def _answer(self, cloud: Cloud, one: Instance) -> str:
        """Whether the machine answers here, through whatever firewall there is."""
        machine = cloud.machines[one.id]
        if machine.state != "running":
            return NO
        if self._world.rng.random() < 0.5:
            return NOTHING_HEARD
        return YES if machine.answers else NOTHING_HEARD
