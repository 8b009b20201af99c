"""Placement: what is asked for and what is sold -> what to try, in order, and why not the rest."""

from __future__ import annotations

from .ladder import Rules, Snapshot, ladder

__all__ = ["Rules", "Snapshot", "ladder"]
