"""A request that has been let in, and the kinds of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..ports import Fault
from .schema import Operation


class Call(NamedTuple):
    """One request: authenticated, valid by the schema. ``fault``: how the scenario spoils it.
    ``if_match``: the header, of whoever must not overwrite another's change."""

    operation: Operation
    region: str
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: Any
    fault: Fault | None = None
    if_match: str = ""

    def asked(self, name: str, default: str = "") -> str:
        """One value of the query."""
        return next(iter(self.query.get(name, ())), default)

    def filters(self) -> dict[str, str]:
        """What of the query narrows a list."""
        paging = ("limit", "page", "sortBy", "sortOrder")
        return {name: values[0] for name, values in self.query.items() if name not in paging}


class Page(NamedTuple):
    """A list, of which the server gives one page at a time."""

    items: list[dict[str, Any]]


class Text(NamedTuple):
    """An answer that is not JSON."""

    text: str


Handler = Callable[[Call], Any]
"""Gives a body, a :class:`Page`, a :class:`Text`, or None for an empty answer; raises Refusal."""


def narrowed(items: list[dict[str, Any]], filters: Mapping[str, str]) -> list[dict[str, Any]]:
    """The items whose fields are as the filters say."""
    return [
        item
        for item in items
        if all(str(item.get(name)) == value for name, value in filters.items())
    ]
