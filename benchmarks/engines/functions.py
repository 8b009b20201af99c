"""What every engine runs: the same three functions."""

from __future__ import annotations

from typing import Any

_kept: dict[int, Any] = {}


def noop(x: int) -> int:
    """Nothing."""
    return x


def take(array: Any) -> float:
    """Touch every page of an array."""
    return float(array[::512].sum())


def give(size: int) -> Any:
    """An array of ``size`` bytes, made once: what is measured is its way."""
    if size not in _kept:
        import numpy as np  # only some environments have it

        _kept[size] = np.ones(size // 8)
    return _kept[size]
