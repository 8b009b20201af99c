"""Outcomes become what the caller sees: a value, or an exception with its remote frames."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any, Mapping, Optional, Sequence

from ..errors import DeserializationError, Error, ExecutionError, RemoteError, SerializationError
from ..runtime_agent import payload
from ..wire.link import FrameError
from .inputs import FAILURE, Buffer, Outcome

_UNPICKLABLE = (payload.Unpicklable.__module__, payload.Unpicklable.__qualname__)


def value_of(outcome: Outcome, renames: Optional[Mapping[str, str]] = None) -> Any:
    """The value of an outcome; raises the exception that it stands for."""
    kind, buffers, error, where = outcome
    if error is not None:
        if isinstance(error, Error):
            raise error.with_traceback(None)
        raise error  # a bug of ours: its own frames tell where
    if kind == FAILURE:
        raise failure_of(buffers, where, renames)
    try:
        if len(buffers) == 1 and not (renames and _names_one(buffers[0], renames)):
            return pickle.loads(buffers[0])  # noqa: S301 - from our authenticated peer
        return payload.loads(buffers, dict(renames or {}))
    except Exception as reason:  # unpickling runs the user's code, which may raise anything
        raise DeserializationError(
            f"the result arrived but cannot be unpickled here: {payload.PickleFailure(reason)}",
            hints=_missing_module_hint(reason),
        ) from reason


def _names_one(data: Buffer, renames: Mapping[str, str]) -> bool:
    """Whether a pickle can refer to one of these modules: their names stand in it then."""
    raw = bytes(data)
    return any(name.encode() in raw for name in renames)


def failure_of(
    buffers: Sequence[Buffer], where: str, renames: Optional[Mapping[str, str]] = None
) -> BaseException:
    """The remote exception: its own type, attributes and notes, with the remote frames."""
    info = json.loads(bytes(buffers[0]))
    error = _rebuild(info, buffers[1:], renames)
    rank = where.partition(", ")[2]
    if rank:  # of a gang; shown by Python 3.11 and newer
        notes = getattr(error, "__notes__", [])
        error.__notes__ = [*notes, "raised on %s" % rank]  # type: ignore[attr-defined]
    trace = payload.remote_traceback([tuple(f) for f in info["frames"]], where)
    return error.with_traceback(trace)


def missing_module(buffers: Sequence[Buffer]) -> str:
    """The module for whose lack user code failed; empty where it was something else.

    Looks without unpickling: that would run the user's code. Raises FrameError for what is no
    failure.
    """
    try:
        info = json.loads(bytes(buffers[0]))
        kind, message = str(info["type"]), str(info["message"])
    except (LookupError, TypeError, ValueError) as error:
        raise FrameError("a failure that is none") from error
    found = _NO_MODULE.match(message) if kind == "ModuleNotFoundError" else None
    return found.group(1) if found is not None else ""


_NO_MODULE = re.compile(r"No module named '([^']+)'")


def _rebuild(
    info: dict[str, Any], buffers: Sequence[Buffer], renames: Optional[Mapping[str, str]]
) -> BaseException:
    if (info["module"], info["type"]) == _UNPICKLABLE:
        return SerializationError(info["message"], hints=_PICKLE_HINTS)
    if info["ending"]:
        return ExecutionError(f"the function raised {info['type']}({info['message']})")
    if not buffers:
        return _substitute(info, info.get("unpicklable", "it cannot be pickled"))
    try:
        error = payload.try_loads(buffers, dict(renames or {}))
    except payload.PickleFailure as failure:
        return _substitute(info, str(failure), failure.reason)
    if not isinstance(error, BaseException):
        return _substitute(info, f"it unpickles as {type(error).__name__}")
    return error


def _substitute(
    info: dict[str, Any], why: str, reason: Optional[BaseException] = None
) -> RemoteError:
    """Stands for an exception that cannot travel; keeps its type's name and its whole text."""
    error = RemoteError(
        f"{info['module']}.{info['type']}: {info['message']}\n\n"
        f"(the exception itself could not be transferred: {why})\n\n{info['text']}",
        hints=_missing_module_hint(reason),
    )
    error.remote_type = f"{info['module']}.{info['type']}"  # type: ignore[attr-defined]
    return error


def _missing_module_hint(reason: Optional[BaseException]) -> tuple[str, ...]:
    if isinstance(reason, ModuleNotFoundError) and reason.name:
        return (f"install {reason.name.partition('.')[0]} here too, or return plain Python values",)
    return ()


def unpicklable(what: str, value: object, reason: BaseException) -> SerializationError:
    """The error for arguments that cannot be sent."""
    shown = re.sub(r"\s+", " ", str(reason))[:300]
    kind = type(value).__name__
    return SerializationError(f"{what}, {kind}, cannot be pickled: {shown}", hints=_PICKLE_HINTS)


_PICKLE_HINTS = ("pass plain data; make files, locks and connections inside the function",)

__all__ = ["failure_of", "missing_module", "unpicklable", "value_of"]
