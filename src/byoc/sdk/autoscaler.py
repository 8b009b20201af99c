"""Asking for, and changing, how many containers a function has while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import NotYetError
from ..images.recipe import in_container
from ..notices import deprecated
from . import params
from .twins import blocking

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.spec import FunctionSpec


class AutoscalerSettings(NamedTuple):
    """Bounds of the number of containers, and the seconds that one is kept without work."""

    min_containers: int
    max_containers: int | None
    buffer_containers: int
    scaledown_window: float | None


class FunctionStats(NamedTuple):
    """``backlog``: inputs that no container has begun. ``num_total_runners``: containers that run
    or start. ``num_running_inputs``: inputs that containers work on. ``input_headroom``: how many
    more these containers could take at once."""

    backlog: int
    num_total_runners: int
    num_running_inputs: int
    input_headroom: int


class Autoscaler:
    """Of one function, or of one class with one set of parameters."""

    def __init__(self, name: str, spec: FunctionSpec, session: Callable[[str], Any]) -> None:
        """``session``: gives that of the running app; is told for what it is needed."""
        self.name = name
        self._spec = spec
        self._session = session

    def _running(self, what: str) -> Any:
        if in_container():
            raise NotYetError(
                f"{self.name}.{what}() is not available inside containers in this version of byoc",
                hints=("call it in the program that runs the app",),
            )
        return self._session(what)

    @blocking
    def settings(self) -> AutoscalerSettings:
        """As they are now. Raises ExecutionError when the app is not running."""
        spec = self._running("autoscaler.settings").settings_of(self._spec)
        return AutoscalerSettings(
            spec.min_containers, spec.max_containers, spec.buffer_containers, spec.scaledown_window
        )

    @blocking
    def update(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: int | None = None,
    ) -> None:
        """Change these at once, for the rest of the run; None leaves one as it is.

        Raises InvalidError, and ExecutionError when the app is not running.
        """
        where = f"{self.name}.autoscaler.update"
        session = self._running("autoscaler.update")
        now = session.settings_of(self._spec)
        least, most, spare = params.containers(
            where,
            now.min_containers if min_containers is None else min_containers,
            now.max_containers if max_containers is None else max_containers,
            now.buffer_containers if buffer_containers is None else buffer_containers,
        )
        window = params.window(where, scaledown_window)
        changes = {
            "min_containers": least,
            "max_containers": most,
            "buffer_containers": spare,
            "scaledown_window": now.scaledown_window if window is None else window,
        }
        session.tune(self._spec, changes)

    @blocking
    def update_autoscaler(self, **settings: Any) -> None:
        """The old name of :meth:`update`."""
        deprecated("update_autoscaler()", "write .autoscaler.update(...)")
        self.update(**settings)

    @blocking
    def keep_warm(self, warm_pool_size: int) -> None:
        """The old way to change ``min_containers``."""
        deprecated("keep_warm()", "write .autoscaler.update(min_containers=...)")
        self.update(min_containers=warm_pool_size)

    @blocking
    def stats(self) -> FunctionStats:
        """What there is to do and who does it, now."""
        return FunctionStats(*self._running("get_current_stats").stats_of(self._spec))
