"""Values and exceptions as bytes, on both ends. CPython 3.8+.

A value is one pickle (protocol 5) followed by its out-of-band buffers, so large arrays are never
copied. The C pickler is tried first; cloudpickle only where it fails (perf.md 6: 4.6 x slower).
"""

from __future__ import annotations

import json
import linecache
import pickle
import sys
import traceback
import types
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

Buffer = Union[bytes, bytearray, memoryview]

VALUE, FAILURE, ITEM, ITEMS_END = 0, 1, 2, 3
"""What a result is: a return value, an exception, one yield of a generator, the generator's end."""

INLINE_BUFFER = 4096
"""Buffers below this stay inside the pickle: their bookkeeping would cost more than the copy."""


def dumps(value: Any, by_value: bool = False) -> List[Buffer]:
    """A value as buffers. ``by_value``: classes and functions of ``__main__`` travel whole.

    Raises whatever pickling raises (TypeError, PicklingError, RecursionError, ...).
    """
    views: List[pickle.PickleBuffer] = []

    def outside(view: pickle.PickleBuffer) -> bool:
        try:
            if view.raw().nbytes < INLINE_BUFFER:
                return True
        except BufferError:  # not contiguous: pickle copies it in-band
            return True
        views.append(view)
        return False

    if not by_value:
        try:
            data = pickle.dumps(value, 5, buffer_callback=outside)
            return [data, *[view.raw() for view in views]] if views else [data]
        except (pickle.PicklingError, AttributeError, TypeError):
            views.clear()
    import cloudpickle  # third party and 20 ms: loaded only by those who need it

    data = cloudpickle.dumps(value, 5, buffer_callback=outside)
    return [data, *[view.raw() for view in views]]


class PickleFailure(Exception):
    """A value cannot be pickled or unpickled; the cause is what the user's code raised."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__("%s: %s" % (type(reason).__name__, reason))
        self.reason = reason


def try_dumps(value: Any, by_value: bool = False) -> List[Buffer]:
    """As :func:`dumps`; raises only PickleFailure."""
    try:
        return dumps(value, by_value)
    except Exception as reason:  # pickling runs the user's code, which may raise anything
        raise PickleFailure(reason) from reason


def try_loads(buffers: Sequence[Buffer], renames: Optional[Dict[str, str]] = None) -> Any:
    """As :func:`loads`; raises only PickleFailure."""
    try:
        return loads(buffers, renames)
    except Exception as reason:  # unpickling runs the user's code, which may raise anything
        raise PickleFailure(reason) from reason


class _Renaming(pickle.Unpickler):
    """Finds the classes of one module under another module's name."""

    renames: Dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(self.renames.get(module, module), name)


def loads(buffers: Sequence[Buffer], renames: Optional[Dict[str, str]] = None) -> Any:
    """The value of buffers made by :func:`dumps`. Only for bytes from our authenticated peer."""
    if not renames:
        return pickle.loads(buffers[0], buffers=buffers[1:])
    import io

    reader = _Renaming(io.BytesIO(buffers[0]), buffers=buffers[1:])
    reader.renames = renames
    return reader.load()


# --- exceptions -------------------------------------------------------------------------------


def describe(error: BaseException, skip: Tuple[str, ...]) -> Dict[str, Any]:
    """An exception as data: type, text, frames. Frames of files whose names begin with ``skip`` are left out."""
    frames: List[Tuple[str, int, str, str]] = []
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith(skip) and not frame.filename.startswith("<frozen"):
            frames.append((frame.filename, frame.lineno or 1, frame.name, frame.line or ""))
    kept = traceback.TracebackException(type(error), error, None)
    kept.stack = traceback.StackSummary.from_list(
        [traceback.FrameSummary(f[0], f[1], f[2], line=f[3]) for f in frames]
    )
    if kept.__cause__ is not None or kept.__context__ is not None:
        whole = traceback.TracebackException.from_exception(error)
        kept.__cause__, kept.__context__ = whole.__cause__, whole.__context__
    try:
        message = str(error)
    except Exception as broken:  # a user's __str__ may raise anything
        message = "<%s while printing %s>" % (type(broken).__name__, type(error).__name__)
    return {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "message": message,
        "frames": frames,
        "text": "".join(kept.format()),
    }


def dump_failure(error: BaseException, skip: Tuple[str, ...]) -> List[Buffer]:
    """``[description, pickle...]``; the pickle is missing when the exception cannot travel."""
    info = describe(error, skip)
    try:
        buffers = dumps(error)
        again = loads([bytes(b) for b in buffers])
        if type(again) is not type(error) and type(again).__qualname__ != info["type"]:
            raise TypeError("unpickles as %s" % type(again).__name__)
    except BaseException as reason:  # classes with a lying __reduce__ or __init__ raise anything
        info["unpicklable"] = "%s: %s" % (type(reason).__name__, reason)
        buffers = []
    return [json.dumps(info).encode(), *buffers]


def remote_traceback(
    frames: Sequence[Tuple[str, int, str, str]], where: str
) -> Optional[types.TracebackType]:
    """A traceback object that shows remote frames as ``<where>:/root/foo.py``, with their source."""
    result: Optional[types.TracebackType] = None
    for filename, line, name, source in reversed(list(frames)):
        shown = "<%s>:%s" % (where, filename)
        _remember_line(shown, line, source)
        result = types.TracebackType(result, _frame(shown, line, name), -1, line)
    return result


def _remember_line(filename: str, line: int, source: str) -> None:
    """Let :mod:`linecache` show one source line of a file that exists only remotely."""
    lines: List[str] = []
    entry = linecache.cache.get(filename)
    if entry is not None and len(entry) == 4:
        lines = list(entry[2])
    lines += ["\n"] * (line - len(lines))
    lines[line - 1] = source + "\n"
    linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)


def _frame(filename: str, line: int, name: str) -> types.FrameType:
    """A frame of a function ``name`` in ``filename`` that stands at ``line``."""
    code = compile("\n" * (line - 1) + "raise LookupError", filename, "exec")
    code = code.replace(co_name=name if name.isidentifier() else "module")
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=name)
    try:
        exec(code, {"__name__": "remote", "__file__": filename})
    except LookupError as raised:
        assert raised.__traceback__ is not None and raised.__traceback__.tb_next is not None
        return raised.__traceback__.tb_next.tb_frame
    raise AssertionError("unreachable")
