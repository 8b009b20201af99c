"""Scenarios: what an emulated account refuses, has little of, and does to instances, as TOML.

Everything is checked when the file is read: an unknown table or key, a value of the wrong kind or
an event that could never happen raises :class:`~byoc.errors.SettingsError` naming table and key.
``docs/emulator.md`` describes every key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from ..errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

CLOUDS = ("aws", "gcp", "oci")
MOMENTS = ("launch", "running", "connected", "first-input", "first-result")
"""Named moments of an instance's life, in their order."""
ACTIONS = ("preempt", "freeze", "cut", "kill")
ANY = "*"
FOREVER = -1
FACTS = ("region", "zone", "type", "market", "id", "name", "shape", "image", "kind", "address")
"""What ``match`` may compare."""
NOTICES = {"aws": 120.0, "gcp": 30.0, "oci": 120.0}
"""Seconds of warning that each cloud gives before it takes an instance back."""
NO_BOOT, SLOW_BOOT = "no-boot", "slow-boot"
BAD_GPU = "bad-gpu"
BOOTS = (NO_BOOT, SLOW_BOOT)
"""Errors of a fault that are about an instance's boot and not about its request."""
_SPECIAL = ("lost-reply", "no-answer", "ignore", BAD_GPU, *BOOTS)
GPU_FAULTS = (
    *("fewer", "memory", "name", "ecc", "rows", "rows-failed", "xid", "lost"),
    *("no-driver", "driver", "mismatch", "hang", "loading"),
)
"""What can be wrong with a machine's GPUs; docs/emulator.md says what each is."""


class Rule(NamedTuple):
    """``[[fault]]``. ``times``: how often it applies, -1 for ever. ``error``: empty only delays.
    ``gpu``: what is wrong with the GPUs, of the error ``bad-gpu``."""

    cloud: str
    op: str
    match: Mapping[str, str]
    error: str
    times: int
    delay: float
    message: str
    status: int
    gpu: str = ""


class Limit(NamedTuple):
    """``[[quota]]``: what the account may hold of a bucket."""

    cloud: str
    region: str
    bucket: str
    limit: float


class Stock(NamedTuple):
    """``[[capacity]]``: how many instances there are in all for what matches."""

    cloud: str
    zone: str
    type: str
    market: str
    amount: int


class Event(NamedTuple):
    """``[[event]]``: something done to ``number`` instances (-1: to all).

    ``at``: seconds after the start; None for those that follow a moment, ``after``. ``lasts``:
    seconds after which a freeze or a cut heals, 0 for never.
    """

    cloud: str
    action: str
    at: float | None
    after: str
    delay: float
    notice: float | None
    lasts: float
    match: Mapping[str, str]
    number: int


class Boot(NamedTuple):
    """``[boot]``: seconds until an instance runs, up to ``jitter`` more, and then until its address
    is told. ``never``: the share of instances that run and never answer. ``console``: what their
    console says at the end of the boot."""

    delay: float = 0.0
    jitter: float = 0.0
    address_delay: float = 0.0
    never: float = 0.0
    console: str = ""
    egress: bool = False


class Permit(NamedTuple):
    """``[policy]``: what byoc's own identity may do. ``enforced``: only what its policy says.
    ``without``: actions (permissions, operations) that it lacks all the same. ``text``: the policy,
    of a file; empty for the one that ``byoc iam`` prints for everything."""

    enforced: bool = True
    without: tuple[str, ...] = ()
    text: str = ""


class Scenario(NamedTuple):
    """A whole file. ``boot``, ``lag`` and ``policy`` by cloud."""

    faults: tuple[Rule, ...] = ()
    quotas: tuple[Limit, ...] = ()
    capacity: tuple[Stock, ...] = ()
    events: tuple[Event, ...] = ()
    boot: Mapping[str, Boot] = MappingProxyType({})
    lag: Mapping[str, float] = MappingProxyType({})
    policy: Mapping[str, Permit] = MappingProxyType({})
    seed: int | None = None


def read(path: Path) -> Scenario:
    """The scenario of a file. Raises SettingsError when it cannot be read or is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path}: the scenario cannot be read: {reason}") from None
    return parse(text, str(path))


def parse(text: str, source: str = "scenario") -> Scenario:
    """A scenario's text; ``source`` is named in errors. Raises SettingsError when it is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: not valid TOML: {error}") from None
    top = _Table(source, data)
    scenario = Scenario(
        faults=tuple(_rule(table) for table in top.tables("fault")),
        quotas=tuple(_limit(table) for table in top.tables("quota")),
        capacity=tuple(_stock(table) for table in top.tables("capacity")),
        events=tuple(_event(table) for table in top.tables("event")),
        boot=_by_cloud(top.table("boot"), _boot, Boot(), "delay"),
        lag=_by_cloud(top.table("list"), _lag, 0.0, "lag"),
        policy=_by_cloud(top.table("policy"), _permit, Permit(), "enforced"),
        seed=top.take("seed", _whole, None),
    )
    top.take("description", _text, "")
    top.end()
    return scenario


# --- tables ---------------------------------------------------------------------------------


def _rule(table: _Table) -> Rule:
    error = table.take("error", _text, "")
    if error.replace("_", "-") in _SPECIAL:
        error = error.replace("_", "-")
    rule = Rule(
        cloud=table.take("cloud", _cloud, ANY),
        op=table.take("op", _text, ANY),
        match=table.take("match", _match, {}),
        error=error,
        times=table.take("times", _times, 1),
        delay=table.take("delay", _seconds, 0.0),
        message=table.take("message", _text, ""),
        status=table.take("status", _status, 0),
        gpu=table.take("gpu", _one_of(GPU_FAULTS), ""),
    )
    if (rule.error == BAD_GPU) != bool(rule.gpu):
        raise table.wrong("gpu", f'belongs to error = "{BAD_GPU}", which needs it')
    if rule.error in ("", SLOW_BOOT) and not rule.delay:
        raise table.wrong("", "needs 'error' (the cloud's own code), 'delay', or both")
    table.end()
    return rule


def _limit(table: _Table) -> Limit:
    limit = Limit(
        cloud=table.take("cloud", _cloud, ANY),
        region=table.take("region", _text, ANY),
        bucket=table.take("bucket", _text, ANY),
        limit=table.must("limit", _amount),
    )
    table.end()
    return limit


def _stock(table: _Table) -> Stock:
    stock = Stock(
        cloud=table.take("cloud", _cloud, ANY),
        zone=table.take("zone", _text, ANY),
        type=table.take("type", _text, ANY),
        market=table.take("market", _market, ANY),
        amount=table.must("count", _whole),
    )
    if stock.amount < 0:
        raise table.wrong("count", "must not be negative")
    table.end()
    return stock


def _event(table: _Table) -> Event:
    event = Event(
        cloud=table.take("cloud", _cloud, ANY),
        action=table.must("action", _one_of(ACTIONS)),
        at=table.take("at", _seconds, None),
        after=table.take("after", _one_of(MOMENTS), ""),
        delay=table.take("delay", _seconds, 0.0),
        notice=table.take("notice", _seconds, None),
        lasts=table.take("for", _seconds, 0.0),
        match=table.take("match", _match, {}),
        number=table.take("count", _times, 1),
    )
    if (event.at is None) == (not event.after):
        raise table.wrong("", "needs either 'at' (seconds) or 'after' (a moment)")
    if event.notice is not None and event.action != "preempt":
        raise table.wrong("notice", 'belongs to action = "preempt" only')
    if event.lasts and event.action not in ("freeze", "cut"):
        raise table.wrong("for", 'belongs to action = "freeze" or "cut" only')
    table.end()
    return event


def _boot(table: _Table, usual: Boot) -> Boot:
    return Boot(
        delay=table.take("delay", _seconds, usual.delay),
        jitter=table.take("jitter", _seconds, usual.jitter),
        address_delay=table.take("address_delay", _seconds, usual.address_delay),
        never=table.take("never", _share, usual.never),
        console=table.take("console", _text, usual.console),
        egress=table.take("egress", _flag, usual.egress),
    )


def _lag(table: _Table, usual: float) -> float:
    return table.take("lag", _seconds, usual)


def _permit(table: _Table, usual: Permit) -> Permit:
    return Permit(
        enforced=table.take("enforced", _flag, usual.enforced),
        without=table.take("without", _texts, usual.without),
        text=table.take("file", _content, usual.text),
    )


def _by_cloud(table: _Table, read: Callable[[_Table, T], T], usual: T, short: str) -> dict[str, T]:
    """A table whose keys hold for all clouds, with tables in it that differ for one. A number in
    place of such a table is its key ``short``."""
    own = {cloud: table.table(cloud, short) for cloud in CLOUDS}
    common = read(table, usual)
    table.end()
    found = {}
    for cloud, inner in own.items():
        found[cloud] = read(inner, common)
        inner.end()
    return found


# --- reading --------------------------------------------------------------------------------


class _Table:
    """A table that knows its name, and which of its keys nobody has asked for."""

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self._name = name
        self._left = dict(data)
        self._asked: list[str] = []

    def take(self, key: str, read: Callable[[object], T], usual: T) -> T:
        """The value of a key, or what holds without it."""
        self._asked.append(key)
        return self._read(key, read) if key in self._left else usual

    def must(self, key: str, read: Callable[[object], T]) -> T:
        """The value of a key that may not be missing."""
        self._asked.append(key)
        if key not in self._left:
            raise self.wrong(key, "is missing")
        return self._read(key, read)

    def _read(self, key: str, read: Callable[[object], T]) -> T:
        try:
            return read(self._left.pop(key))
        except ValueError as error:
            raise self.wrong(key, str(error)) from None

    def table(self, key: str, short: str = "") -> _Table:
        """A table within; empty when it is missing. ``short``: the key that a number stands for."""
        data = self._left.pop(key, {})
        self._asked.append(f"[{key}]")
        if short and isinstance(data, (int, float)):
            data = {short: data}
        if not isinstance(data, dict):
            raise self.wrong(key, f"must be a table, [{key}]")
        return _Table(f"{self._name}: [{key}]", data)

    def tables(self, key: str) -> list[_Table]:
        """An array of tables, each with its number."""
        data = self._left.pop(key, [])
        self._asked.append(f"[[{key}]]")
        if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
            raise self.wrong(key, f"must be an array of tables, [[{key}]]")
        return [_Table(f"{self._name}: [[{key}]] number {n}", one) for n, one in enumerate(data, 1)]

    def end(self) -> None:
        """Raises when a key is left that nobody knows."""
        for key in self._left:
            known = ", ".join(dict.fromkeys(self._asked))
            raise self.wrong(key, "is not known", (f"Use one of: {known}.",))

    def wrong(self, key: str, what: str, hints: tuple[str, ...] = ()) -> SettingsError:
        """The error to raise about a key."""
        where = f"{self._name}: {key!r}" if key else self._name
        return SettingsError(f"{where} {what}", hints=hints)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be a text")


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise ValueError("must be a list of texts")


def _content(value: object) -> str:
    try:
        return Path(_text(value)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', error)}") from None


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"must be one of {', '.join(words)}")

    return read


def _cloud(value: object) -> str:
    return _one_of((*CLOUDS, ANY))(value)


def _market(value: object) -> str:
    return _one_of(("spot", "on-demand", ANY))(value)


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a whole number")


def _times(value: object) -> int:
    number = _whole(value)
    if number < FOREVER:
        raise ValueError("must be -1 (no end), 0 or more")
    return number


def _status(value: object) -> int:
    number = _whole(value)
    if not 400 <= number <= 599:
        raise ValueError("must be an HTTP status between 400 and 599")
    return number


def _number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ValueError("must be a number")


def _amount(value: object) -> float:
    number = _number(value)
    if not number >= 0:  # also true for what is not a number
        raise ValueError("must not be negative")
    return number


def _seconds(value: object) -> float:
    if isinstance(value, str) and value[-1:] == "s":
        value = _digits(value[:-1])
    number = _number(value)
    if not 0 <= number < float("inf"):
        raise ValueError("must be seconds, 0 or more")
    return number


def _digits(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _share(value: object) -> float:
    if isinstance(value, bool):
        return float(value)
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError("must be true, false or a share between 0 and 1")
    return number


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def _match(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError('must be a table such as { zone = "us-east-1a" }')
    for key, pattern in value.items():
        if key not in FACTS:
            raise ValueError(f"has {key!r}, which is not one of {', '.join(FACTS)}")
        if not isinstance(pattern, str):
            raise ValueError(f"has a {key!r} that is not a text")
    return dict(value)
