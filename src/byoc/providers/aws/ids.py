"""Ids of things on AWS: ``us-east-1/i-0ab12``, the region in front of AWS's own id."""

from __future__ import annotations

import re
from typing import NamedTuple

_ID = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d+)/((i|vol|sg|eni|eipalloc)-[0-9a-z]+)")
KINDS = {
    "i": "instance",
    "vol": "disk",
    "sg": "firewall",
    "eni": "network",
    "eipalloc": "address",
}
"""By the beginning of AWS's id, what :class:`~byoc.providers.base.Instance` calls it."""


class Ref(NamedTuple):
    """Something in a region. ``id``: AWS's own."""

    region: str
    id: str

    @property
    def kind(self) -> str:
        """``instance``, ``disk``, ``firewall``, ``network`` or ``address``."""
        return KINDS[self.id.partition("-")[0]]

    def __str__(self) -> str:
        return f"{self.region}/{self.id}"


def parse(text: str) -> Ref | None:
    """The thing that an id names, None for what is no such id."""
    match = _ID.fullmatch(text)
    return Ref(match.group(1), match.group(2)) if match else None
