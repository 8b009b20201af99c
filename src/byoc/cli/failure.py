"""From an exception to words and an exit code. Nothing else in byoc prints an error."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from . import attempts, context
from .console import Console

if TYPE_CHECKING:
    from ..state import Attempt

PROGRAM = 1
NO = 1
"""What ``check`` and ``capacity`` answer when it is no, as grep and diff do; and ``audit`` and
``reap`` when something is there."""
USAGE = 2
NO_OFFER = 3
INSTANCE = 4
IMAGE = 5
BUDGET = 6
INTERNAL = 7
INTERRUPTED = 130
READER_GONE = 141

CODES: tuple[tuple[type[errors.Error], int], ...] = (
    (errors.UsageError, USAGE),
    (errors.PlacementError, NO_OFFER),
    (errors.CapacityError, NO_OFFER),
    (errors.QuotaError, NO_OFFER),
    (errors.ProviderError, INSTANCE),
    (errors.InstanceError, INSTANCE),
    (errors.ImageBuildError, IMAGE),
    (errors.BudgetError, BUDGET),
    (errors.StateError, INTERNAL),
    (errors.ExecutionError, PROGRAM),
)
"""First match wins; an :class:`errors.Error` of no listed class is :data:`INTERNAL`."""

_NAMES = {INTERNAL: "internal", INTERRUPTED: "interrupted", READER_GONE: "interrupted"}

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_AGENT = re.compile(r"<[^>]*>:byoc/")
"""A remote frame of the agent: the bundle's files have such relative names."""
_DELIBERATE = ("cli/", "sdk/")
"""Rooms that raise builtin exceptions on purpose, for the user's misuse of the API. Any other room
raises only classes of :mod:`byoc.errors`; a builtin one from there is a bug of ours, but for ..."""
_RAISERS = (("engine/results.py", "value_of"), ("engine/calls.py", "outcome"))
"""... the functions that raise a remote exception as itself, and the builtin TimeoutError."""
_LOCATED = (errors.UsageError, errors.ExecutionError)
"""Errors that a line of the user's program is to blame for."""
_HEADER = "Traceback (most recent call last):\n"
_LONG = 160
"""Characters of a message that is told in one line, whatever it lists."""
_SHORT = 6
"""Frames of an internal error that are shown; the log has all."""


def exit_code(error: BaseException) -> int:
    """The exit code that stands for an error of byoc's own."""
    if isinstance(error, errors.ContainerError) and error.reason == "start":
        return error.exit_code or PROGRAM  # a command that is not there: 127, as shells have it
    return next((code for kind, code in CODES if isinstance(error, kind)), INTERNAL)


class _State:
    in_program = False


_state = _State()


@contextmanager
def program() -> Iterator[None]:
    """Around the user's own code: what it raises passes through, and is known as the user's."""
    _state.in_program = True
    yield
    _state.in_program = False


def conclude(
    error: BaseException,
    console: Console,
    command: str,
    *,
    of_program: bool = False,
    fields: Mapping[str, Any] | None = None,
    tried: Sequence[Attempt] = (),
) -> int:
    """Report whatever ended a command, in words and with ``--json`` as data; its exit code.

    ``of_program``: it came out of the user's own code, as what :func:`program` let out did.
    ``fields``: more for the JSON object. ``tried``: what came to nothing before it.
    """
    of_program = of_program or _state.in_program
    _state.in_program = False
    if isinstance(error, errors.Error):
        code = report(error, console, tried)
    elif isinstance(error, KeyboardInterrupt):
        code = READER_GONE if console.reader_gone else INTERRUPTED
    elif isinstance(error, SystemExit):
        code = _exit_status(error, console)
    elif of_program and not is_bug(error):
        code = report_program(error, console)
    else:
        code = report_internal(error, console, context.logs_folder())
    if console.as_json:
        shown = None if code == 0 else as_dict(error, code)
        console.json_object(command, code, {**(fields or {}), "error": shown})
    return code


def _exit_status(error: SystemExit, console: Console) -> int:
    """What ``sys.exit(...)`` in the user's program means, as Python has it."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    console.plain(str(error.code))
    return PROGRAM


def as_dict(error: BaseException, code: int) -> dict[str, Any]:
    """The ``error`` object of ``--json``; ``code``: the exit code."""
    if isinstance(error, errors.Error):
        return error.as_dict()
    return {
        "code": _NAMES.get(code, "user"),
        "type": type(error).__name__,
        "message": summary(error),
        "retryable": False,
        "done": "",
        "remediation": [],
        "traceback": "".join(user_lines(error)),
    }


def summary(error: BaseException) -> str:
    """``ValueError: no such thing``: the last line of a traceback."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def report(error: errors.Error, console: Console, tried: Sequence[Attempt] = ()) -> int:
    """Print an error of byoc's own: message, causes, what was done, hints. Its exit code.

    ``tried``: what came to nothing before it, told by what was wrong.
    """
    message = error.message or type(error).__name__
    if len(tried) > 1:  # the message repeats them in one long line
        message = message.partition(f": {tried[0].offer}")[0]
    message, *parts = _unfolded(message) if isinstance(error, errors.PlacementError) else [message]
    console.error(message)
    if parts:
        console.plain(_indent("\n".join(parts)))
    if len(tried) > 1:
        console.plain(_indent("\n".join(attempts.grouped(tried))))
    where = user_location(error) if isinstance(error, _LOCATED) else ""
    if where:
        console.plain(f"  at {where}")
    if isinstance(error, errors.ProviderError):
        _tell_vendor(error, console)
    for cause in _causes(error):
        console.plain(f"  caused by: {_one_line(cause)}")
        if isinstance(cause, errors.ProviderError):
            _tell_vendor(cause, console)
    if isinstance(error, errors.ImageBuildError) and error.log:
        console.plain(_indent(error.log))
    if error.done:
        console.plain(f"  {error.done}")
    for hint in dict.fromkeys(_hints(error)):
        console.hint(hint)
    return exit_code(error)


def _unfolded(message: str) -> list[str]:
    """A sentence that lists many reasons: its beginning, and a line for each of them."""
    head, _, rest = message.partition(": ")
    parts = rest.split("; ")
    return [message] if len(message) <= _LONG or len(parts) == 1 else [head, *parts]


def _tell_vendor(error: errors.ProviderError, console: Console) -> None:
    """Who refused, by what code, and the id that their support asks for."""
    facts = [
        error.provider,
        error.vendor_code and f"code {error.vendor_code}",
        error.request_id and f"request {error.request_id}",
    ]
    if any(facts):
        console.plain(f"  {', '.join(fact for fact in facts if fact)}")


def report_program(error: BaseException, console: Console) -> int:
    """Print the traceback of the user's own exception without byoc's frames."""
    console.plain("".join(user_lines(error)).rstrip("\n"))
    if isinstance(error, ModuleNotFoundError) and error.name == "modal":
        console.hint("write `import byoc as modal`: byoc has its names")
    return PROGRAM


def report_internal(error: BaseException, console: Console, logs: Path) -> int:
    """Print a short traceback of a bug of ours, and keep the whole of it in ``logs``."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    console.error(f"internal error: {summary(error)}")
    frames = traceback.extract_tb(error.__traceback__)[-_SHORT:]
    console.plain("".join(traceback.format_list(frames)).rstrip("\n"))
    try:
        path = keep(logs, "".join(lines))
    except OSError as problem:
        console.plain(f"  the whole traceback could not be kept: {problem}")
    else:
        console.plain(f"  the whole traceback is in {path}")
    console.hint("this is a bug in byoc: please report it with that file")
    return INTERNAL


def keep(logs: Path, text: str) -> Path:
    """Write ``text`` to a new private file in ``logs`` and return its path."""
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(1, 10_000):
        path = logs / f"internal-error-{number}.log"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return path
    raise FileExistsError(f"{logs} holds 9999 error logs already")


def is_bug(error: BaseException) -> bool:
    """True when a builtin exception came out of a room of byoc that never raises one on purpose."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, errors.Error) or not frames:
        return False
    last = frames[-1]
    if not _is_ours(last.filename):
        return False
    place = last.filename[len(_PACKAGE) + 1 :].replace(os.sep, "/")
    return not place.startswith(_DELIBERATE) and (place, last.name) not in _RAISERS


def user_lines(error: BaseException) -> list[str]:
    """The traceback as Python prints it, with the user's local and remote frames only."""
    shown = traceback.TracebackException.from_exception(error)
    for part in _parts(shown, set()):
        part.stack = traceback.StackSummary.from_list(
            [frame for frame in part.stack if not _is_ours(frame.filename)]
        )
    lines = list(shown.format())
    bare = [line == _HEADER and not _is_frame(lines[at + 1 :]) for at, line in enumerate(lines)]
    return [line for line, empty in zip(lines, bare, strict=True) if not empty]


def user_location(error: BaseException) -> str:
    """``train.py, line 12`` of the user's innermost frame, or nothing."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_ours(f.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _is_frame(following: list[str]) -> bool:
    return bool(following) and following[0].startswith("  File ")


def _is_ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE + os.sep, "<frozen ")) or bool(_AGENT.match(filename))


def _parts(
    shown: traceback.TracebackException, seen: set[int]
) -> Iterator[traceback.TracebackException]:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    yield shown
    below = [shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())]
    for part in below:
        if part is not None:
            yield from _parts(part, seen)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _hints(error: BaseException) -> Iterator[str]:
    for part in (error, *_causes(error)):
        yield from getattr(part, "hints", ())


def _one_line(error: BaseException) -> str:
    if isinstance(error, errors.Error):
        return error.message
    return summary(error).splitlines()[0]


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.rstrip("\n").splitlines())
