"""How records stand in columns: plain values as they are, the rest as JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Row
from typing import Any, TypeVar

from ..resources import Offer
from .records import Attempt, InstanceRow, Intent, Refusal, Run, Stage

Value = str | int | float | None
Record = TypeVar("Record", Intent, InstanceRow, Attempt, Refusal, Run, Stage)


def _offer(text: str) -> Offer:
    return Offer(**json.loads(text))


def _texts(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _maybe(text: str | None) -> Any:
    return None if text is None else json.loads(text)


_DECODERS: Mapping[type, Mapping[str, Callable[[Any], Any]]] = {
    Intent: {"offer": _offer, "tags": json.loads},
    InstanceRow: {"offer": _offer},
    Refusal: {"zones": _texts},
    Run: {"command": _texts, "instances": _texts, "detached": bool, "error": _maybe},
}


def encode(value: object) -> Value:
    """One field as a column's value."""
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Offer):
        return json.dumps(value._asdict())
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    if isinstance(value, tuple):
        return json.dumps(value)
    raise TypeError(f"the journal has no column form for {type(value).__name__}")


def names(kind: type[Record]) -> tuple[str, ...]:
    """The columns of a record type, in order."""
    return kind._fields


def insertion(table: str, record: Record) -> tuple[str, tuple[Value, ...]]:
    """The statement that inserts or replaces a record, and its values."""
    columns = names(type(record))
    into = f"{table} ({', '.join(columns)})"
    sql = f"INSERT OR REPLACE INTO {into} VALUES ({marks(columns)})"  # noqa: S608 our own names
    return sql, tuple(encode(getattr(record, name)) for name in columns)


def decode(kind: type[Record], row: Row) -> Record:
    """A row as its record."""
    decoders = _DECODERS.get(kind, {})
    values = {name: row[name] for name in names(kind)}
    return kind(**values | {name: read(values[name]) for name, read in decoders.items()})


def marks(values: Sequence[object]) -> str:
    """``?, ?, ?``: one mark for each value."""
    return ", ".join("?" * len(values))
