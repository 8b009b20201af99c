"""The instances of a gang in the hands of a session: all of them with their agents, or none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import CancelledError, InstanceError
from ..fleet.gang import AT_ONCE
from ..fleet.held import Held
from ..resources import Resources
from ..tasks import attempt, side_by_side
from .base import Base
from .live import LiveInstance


class Mustering(Base):
    """The part of a session that has several instances side by side."""

    def _muster(
        self, resources: Resources, count: int, place: str = "", key: int = 0
    ) -> list[LiveInstance]:
        """So many instances that reach each other, agents running; given up together when one of
        them is not to be had. ``place``: the key of the only offer that will do. ``key``: of the
        function, as in :class:`~byoc.engine.base.Search`.

        Raises as :meth:`~byoc.fleet.core.Fleet.gang`.
        """
        with self._acquired:
            if self._closed:
                raise CancelledError("the run is over")
            nodes = [next(self._nodes) for _ in range(count)]
            self._acquiring[key] += 1
        try:
            allowed, only = self._approved(resources)
            self._packed()
            found = self.fleet.gang(
                allowed,
                self.run_id,
                nodes,
                keep=self.options.keep,
                stop=lambda: self._closed,
                only=(place,) if place else only,
            )
            return self._enlist(found)
        finally:
            with self._acquired:
                self._acquiring[key] -= 1
                self._acquired.notify_all()

    def _enlist(self, found: Sequence[Held]) -> list[LiveInstance]:
        works = [partial(attempt, partial(self._opened, held)) for held in found]
        try:
            answers = side_by_side(works, AT_ONCE)
        except BaseException as error:  # Ctrl-C: what the threads come to is nobody's any more
            why = str(error) or type(error).__name__
            side_by_side([partial(attempt, partial(held.lost, why)) for held in found], AT_ONCE)
            raise
        hosts = [one for one in answers if isinstance(one, LiveInstance)]
        failed = next((one for one in answers if isinstance(one, BaseException)), None)
        if failed is None:
            with self.lock:
                if not self._late:
                    self._hosts += hosts
                    return hosts
            failed = CancelledError("the run is over")
        side_by_side([partial(self._discharge, host) for host in hosts], AT_ONCE)
        raise failed

    def _opened(self, held: Held) -> LiveInstance:
        """A held instance with its agent running; given up when that cannot be."""
        begun = self.clock.mono()
        try:
            agent = self._packed().result()
            host = self._live(held, agent, self._member_lost, self._member_leaving)
            host.open()
        except BaseException as error:
            self._reporter.stage("connect", "failed", str(error))
            held.lost(str(error))
            raise
        seconds = self.clock.mono() - begun + held.connecting
        self._reporter.stage("connect", "done", "warm" if held.warm else "new", seconds)
        return host

    def _member_lost(self, host: LiveInstance, error: InstanceError) -> None:
        """An instance of a gang is gone."""
        self._host_lost(host, error)

    def _member_leaving(self, host: LiveInstance) -> None:
        """An instance of a gang is preempted in a moment."""
        self._host_leaving(host)
