"""``FunctionCall``: a call that was started by ``spawn`` and is asked for later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _lazy
from ..errors import InvalidError, NotFoundError
from . import context
from .later import Later
from .twins import blocking, static_blocking, streaming

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..engine.calls import PendingCall

SEPARATOR = ","
"""Between the ids of the inputs of a call that has several."""


class FunctionCall:
    """One call, or all those of ``experimental_spawn_map``. It lives as long as the run that
    started it, and can be given to and returned from functions of that run.

    100,000 of them cost 48 bytes each; an id is only made when it is asked for.
    """

    __slots__ = ("_pending",)

    _pending: PendingCall | Sequence[PendingCall]

    def __init__(self, pending: PendingCall | Sequence[PendingCall]) -> None:
        self._pending = pending

    @property
    def object_id(self) -> str:
        """``fc-...``, for :meth:`from_id`; of several inputs all their ids."""
        return SEPARATOR.join(one.id for one in self._all)

    @property
    def _all(self) -> Sequence[PendingCall]:
        return self._pending if isinstance(self._pending, list) else (self._pending,)  # type: ignore[return-value]

    def _at(self, index: int) -> PendingCall:
        inputs = self._all
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(inputs):
            raise InvalidError(
                f"index={index!r}: this call has {len(inputs)} inputs, the first has index 0"
            )
        return inputs[index]

    @blocking
    def get(self, timeout: float | None = None, *, index: int = 0) -> Any:
        """The value, or the remote exception; any number of times. ``timeout``: seconds, 0 only
        looks. ``index``: which input, of several.

        Raises the builtin TimeoutError while the result is not there, as in Modal.
        """
        return self._at(index).value(timeout)

    @get.twin
    async def _get_later(self, timeout: float | None = None, *, index: int = 0) -> Any:
        pending = self._at(index)
        await _lazy.load("byoc.sdk.awaiting:outcome")(pending, timeout)
        return pending.value(0)

    @blocking
    def cancel(self, terminate_containers: bool = False) -> None:
        """Drop the call; who waits for it gets CancelledError. Code that runs meets
        InputCancellation, or asyncio.CancelledError; with ``terminate_containers`` its container
        ends."""
        for pending in self._all:
            pending.cancel(kill=terminate_containers)

    @blocking
    def num_inputs(self) -> int:
        """How many inputs it has: 1, or those of ``experimental_spawn_map``."""
        return len(self._all)

    @streaming
    def iter(self, *, start: int = 0, end: int | None = None) -> Iterator[Any]:
        """The values of the inputs from ``start`` to before ``end``, in order."""
        return (pending.value(None) for pending in self._all[start:end])

    @static_blocking
    def gather(*function_calls: FunctionCall) -> list[Any]:
        """The values of all, in order; raises the first failure as soon as it is there."""
        for call in function_calls:
            if not isinstance(call, FunctionCall):
                raise InvalidError(f"gather() takes FunctionCalls, not {call!r}")
        pending = [call._at(0) for call in function_calls]
        found: list[Any] = _lazy.load("byoc.engine.calls:gather")(pending)
        return found

    @staticmethod
    def from_id(function_call_id: str, client: Any = None) -> FunctionCall:
        """The call with this id, in the client and in all containers of its run, while that goes
        on. Raises NotFoundError."""
        if not isinstance(function_call_id, str) or not function_call_id.startswith("fc-"):
            raise InvalidError(
                f"{function_call_id!r} is not the id of a call",
                hints=("it is the call's .object_id, such as fc-12",),
            )
        return _from_id(function_call_id)

    get_call_graph = Later()
    get_dashboard_url = Later()
    logs = Later("follow the run: byoc logs -f")

    def hydrate(self, client: Any = None) -> FunctionCall:
        """Itself: nothing has to be looked up."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_id, (self.object_id,)

    def __repr__(self) -> str:
        return f"<byoc.FunctionCall of {len(self._all)} inputs>"


def _from_id(ident: str) -> FunctionCall:
    """The call, or calls, found by id in a session of this process."""
    idents = ident.split(SEPARATOR)
    find = _lazy.load("byoc.engine.calls:find_call")
    for session in context.sessions():
        found = [find(session, one) for one in idents]
        if all(one is not None for one in found):
            return FunctionCall(found if len(found) > 1 else found[0])
    raise NotFoundError(
        f"no call {ident!r} was started in this run",
        hints=("calls can be found by id while the run that spawned them goes on",),
    )
