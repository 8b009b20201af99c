"""A request that has been let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..ports import Fault
from .discovery import Method


class Call(NamedTuple):
    """Authenticated, and valid by Google's description. ``user``: the account it is made as.
    ``fault``: how the scenario spoils it, where that is the handler's matter."""

    method: Method
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: Any
    user: str
    fault: Fault | None = None

    def asked(self, name: str, default: str = "") -> str:
        """One value of the query."""
        return next(iter(self.query.get(name, ())), default)


Handler = Callable[[Call], dict[str, Any]]
"""Gives the body of the answer; raises :class:`~.refusals.Refusal`."""
