"""Placement: what is asked for and what is sold -> what to try, in order, and why not the rest."""

from __future__ import annotations

from .history import History, Tries, history_of
from .ladder import Snapshot, ladder
from .rules import Rules

__all__ = ["History", "Rules", "Snapshot", "Tries", "history_of", "ladder"]
