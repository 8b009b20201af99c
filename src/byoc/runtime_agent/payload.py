"""Values and exceptions as bytes, on both ends. CPython 3.8+.

A value is one pickle (protocol 5) followed by its out-of-band buffers, so large arrays are never
copied. The C pickler is tried first; cloudpickle only where it fails, being 4.6 times slower
(docs/performance.md).
"""

from __future__ import annotations

import io
import json
import linecache
import pickle
import sys
import traceback
import types
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type, Union

Buffer = Union[bytes, bytearray, memoryview]

VALUE, FAILURE, ITEM, ITEMS_END = 0, 1, 2, 3
"""What a result is: a return value, an exception, one yield of a generator, the generator's end."""

MOST_FRAMES = 200
"""Frames of a traceback that travel: of a deep recursion only the first and the last hundred."""
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

    value = _lifted(value)
    if not by_value:
        try:
            data = pickle.dumps(value, 5, buffer_callback=outside)
            return [data, *[view.raw() for view in views]] if views else [data]
        except (pickle.PicklingError, AttributeError, TypeError):
            views.clear()
    import cloudpickle  # third party and 20 ms: loaded only by those who need it

    data = cloudpickle.dumps(value, 5, buffer_callback=outside)
    return [data, *[view.raw() for view in views]]


LIFTED = 1024 * 1024
"""Bytes and bytearrays of this size on are not copied into the pickle."""


class _Whole:
    """Pickles as bytes, or a bytearray, whose content lies beside the pickle."""

    __slots__ = ("_data",)

    def __init__(self, data: Union[bytes, bytearray]) -> None:
        self._data = data

    def __reduce_ex__(self, protocol: Any) -> Tuple[Any, ...]:
        make = bytes if type(self._data) is bytes else own
        return make, (pickle.PickleBuffer(self._data),)


def own(buffer: Buffer) -> bytearray:
    """The bytearray that arrived, or one of what did. Pickles refer to this name."""
    return buffer if type(buffer) is bytearray else bytearray(buffer)


def _large(value: Any) -> bool:
    return type(value) in (bytes, bytearray) and len(value) >= LIFTED


def _lifted(value: Any) -> Any:
    """The value with what is large beside the pickle, where that is easy to find: the value itself,
    or in a tuple, or in a tuple in one (as arguments are)."""
    if type(value) is not tuple:
        return _Whole(value) if _large(value) else value
    for item in value:
        if _large(item) or (type(item) is tuple and any(map(_large, item))):
            break
    else:
        return value
    known: Dict[int, _Whole] = {}  # the same object stays the same

    def lift(item: Any) -> Any:
        return known.setdefault(id(item), _Whole(item)) if _large(item) else item

    return tuple(tuple(map(lift, i)) if type(i) is tuple else lift(i) for i in value)


class Unpicklable(Exception):
    """A result that cannot be sent; ``byoc.errors.SerializationError`` at the caller."""


class PickleFailure(Exception):
    """A value cannot be pickled or unpickled; the cause is what the user's code raised."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__("%s: %s" % (type(reason).__name__, text_of(reason)))
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

    renames: Dict[str, str]

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(self.renames.get(module, module), name)


def loads(buffers: Sequence[Buffer], renames: Optional[Dict[str, str]] = None) -> Any:
    """The value of buffers made by :func:`dumps`. Only for bytes from our authenticated peer."""
    if len(buffers) == 1 and not renames:
        return pickle.loads(buffers[0])  # noqa: S301 - it is what we are for
    beside = [_writable(buffer) for buffer in buffers[1:]]
    if not renames:
        return pickle.loads(buffers[0], buffers=beside)  # noqa: S301 - it is what we are for
    reader = _Renaming(io.BytesIO(buffers[0]), buffers=beside)
    reader.renames = renames
    return reader.load()


def _writable(buffer: Buffer) -> Buffer:
    """The buffer, or a copy where it only borrows a small message's bytes: arrays made of it can
    be written to, whatever their size, and keep nothing else alive."""
    if isinstance(buffer, bytearray):
        return buffer
    return bytearray(buffer)


# --- exceptions -------------------------------------------------------------------------------

_ENDINGS = frozenset(
    {
        ("builtins", "SystemExit"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "GeneratorExit"),
        ("builtins", "BaseExceptionGroup"),
        ("asyncio.exceptions", "CancelledError"),
    }
)


def describe(error: BaseException, skip: Tuple[str, ...]) -> Dict[str, Any]:
    """An exception as data: type, text, frames, and whether raising it again would end the
    caller's program or task, as if that had asked for it.

    Frames of files whose names begin with one of ``skip`` are left out.
    """
    frames = _frames(error, skip)
    names = {(kind.__module__, kind.__qualname__) for kind in type(error).__mro__}
    return {
        "ending": not isinstance(error, Exception) and bool(names & _ENDINGS),
        "type": str(type(error).__qualname__),
        "module": str(type(error).__module__),
        "message": text_of(error),
        "frames": frames,
        "text": _whole_text(error, frames),
    }


def text_of(error: BaseException) -> str:
    """What ``str`` says of it, or that it says nothing."""
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        return "<%s while printing it>" % type(broken).__name__


def _frames(error: BaseException, skip: Tuple[str, ...]) -> List[Tuple[str, int, str, str]]:
    hidden = (*skip, "<frozen")
    walked = [
        place
        for place in traceback.walk_tb(error.__traceback__)
        if not place[0].f_code.co_filename.startswith(hidden)
    ]
    if len(walked) > MOST_FRAMES:
        walked = walked[: MOST_FRAMES // 2] + walked[-MOST_FRAMES // 2 :]
    found = traceback.StackSummary.extract(iter(walked))
    return [(f.filename, f.lineno or 1, f.name, f.line or "") for f in found]


def _whole_text(error: BaseException, frames: List[Tuple[str, int, str, str]]) -> str:
    """As Python would print it, with its causes and notes, and only these frames of its own."""
    try:
        kept = traceback.TracebackException(type(error), error, None)
        kept.stack = traceback.StackSummary.from_list(
            [traceback.FrameSummary(f[0], f[1], f[2], line=f[3]) for f in frames]
        )
        return "".join(kept.format())
    except BaseException:  # noqa: BLE001 - the user's class or its causes may be broken anyhow
        return "%s: %s\n" % (type(error).__qualname__, text_of(error))


def dump_failure(error: BaseException, info: Dict[str, Any]) -> List[Buffer]:
    """``[description, pickle...]``; the pickle is missing when the exception cannot travel.

    ``info``: what :func:`describe` says of it.
    """
    buffers: List[Buffer] = []
    try:
        buffers = _dump_exception(error)
    except BaseException as reason:  # noqa: BLE001 - a lying __reduce__ or __init__ raises anything
        info = dict(info, unpicklable="%s: %s" % (type(reason).__name__, text_of(reason)))
    return [json.dumps(info).encode(), *buffers]


def _dump_exception(error: BaseException) -> List[Buffer]:
    """Pickled and tried. Pickle calls the class with ``args`` again, which many a constructor does
    not take, or takes for something else; such an exception travels as its parts."""
    try:
        buffers = dumps(error)
        if _again(error, buffers).args == error.args:
            return buffers
    except BaseException:  # noqa: BLE001, S110 - user code runs; the other way is tried
        pass
    buffers = dumps(_Parts(error))
    _again(error, buffers)
    return buffers


def _again(error: BaseException, buffers: Sequence[Buffer]) -> BaseException:
    again = loads([bytes(b) for b in buffers])
    if not isinstance(again, BaseException) or type(again).__qualname__ != type(error).__qualname__:
        raise TypeError("unpickles as %s" % type(again).__name__)
    return again


class _Parts:
    """Pickles as an exception's class, arguments and attributes."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Tuple[Any, ...]:
        error = self._error
        return assemble, (type(error), error.args, dict(vars(error)))


def assemble(
    kind: Type[BaseException], args: Tuple[Any, ...], attributes: Dict[str, Any]
) -> BaseException:
    """An exception of its parts, made without its own constructor. Pickles refer to this name."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


def remote_traceback(
    frames: Sequence[Tuple[str, int, str, str]], where: str
) -> Optional[types.TracebackType]:
    """A traceback that shows remote frames as ``<where>:/root/foo.py``, with their source."""
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
    code = code.replace(co_name=name)
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=name)
    try:
        exec(code, {"__name__": "remote", "__file__": filename})  # noqa: S102 - only a raise
    except LookupError as raised:
        trace = raised.__traceback__
    assert trace is not None and trace.tb_next is not None
    return trace.tb_next.tb_frame
