"""``FunctionCall``: a call that was started by ``spawn`` and is asked for later."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from ..clock import IDS
from ..errors import InvalidError, NotFoundError
from .twins import blocking

if TYPE_CHECKING:
    from ..engine.calls import PendingCall

_known: weakref.WeakValueDictionary[str, FunctionCall] = weakref.WeakValueDictionary()


class FunctionCall:
    """One call. ``object_id``: ``fc-...``. It lives as long as the run that started it."""

    def __init__(self, pending: PendingCall) -> None:
        self._pending = pending
        self.object_id = IDS.new("fc")
        _known[self.object_id] = self

    @blocking
    def get(self, timeout: float | None = None, *, index: int = 0) -> Any:
        """The value, or the remote exception. ``timeout=0`` only looks.

        Raises the builtin TimeoutError while the result is not there, as in Modal.
        """
        if index:
            raise InvalidError(f"get(index={index}): this call has one input, with index 0")
        return self._pending.value(timeout)

    @blocking
    def cancel(self, terminate_containers: bool = False) -> None:
        """Drop the call; who waits for it gets CancelledError. Code that runs already goes on
        unless ``terminate_containers``."""
        self._pending.cancel(kill=terminate_containers)

    @staticmethod
    def gather(*function_calls: FunctionCall) -> list[Any]:
        """The values of all, in order; raises the first failure."""
        return [call.get() for call in function_calls]

    @staticmethod
    def from_id(function_call_id: str) -> FunctionCall:
        """The call with this id, while the program that spawned it runs. Raises NotFoundError."""
        found = _known.get(function_call_id)
        if found is None:
            raise NotFoundError(f"no call {function_call_id!r} was started by this program")
        return found

    def __repr__(self) -> str:
        return f"<byoc.FunctionCall {self.object_id}>"
