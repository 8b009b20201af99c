"""The journal. Only this room opens its file."""

from __future__ import annotations

from .journal import Journal
from .records import INSTANCE_LIVE, INTENT_OPEN, Attempt, InstanceRow, Intent, Refusal, Run, Stage

__all__ = [
    "INSTANCE_LIVE",
    "INTENT_OPEN",
    "Attempt",
    "InstanceRow",
    "Intent",
    "Journal",
    "Refusal",
    "Run",
    "Stage",
]
