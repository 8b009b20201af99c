"""Looking at many OCI instances with few requests.

OCI does not tell how often it may be asked, and refuses for minutes whoever asks too often: one
instance is asked for by its id, two and more are read from one list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import ProviderError
from ..looking import Ask

MOST = 10_000
"""Instances that one list gives: all of them."""


def asking(one: Callable[[str], Any], many: Callable[[], Mapping[str, Any]]) -> Ask:
    """How instances are asked for. ``one``: by id; raises when there is none. ``many``: every
    instance that can be listed, by id."""

    def told(id: str) -> Any:
        try:
            return one(id)
        except ProviderError as error:
            return error

    def ask(ids: Sequence[str]) -> Mapping[str, Any]:
        known = many() if len(ids) > 1 else {}
        # one that the list does not have is asked for by itself: lists lag behind
        return {one_id: known.get(one_id) or told(one_id) for one_id in ids}

    return ask
