"""``byoc.functions``: names that programs import from ``modal.functions``."""

from __future__ import annotations

from typing import Any

from .notices import deprecated
from .sdk.call import FunctionCall
from .sdk.function import Function

__all__ = ["Function", "FunctionCall", "gather"]


def gather(*function_calls: FunctionCall) -> list[Any]:
    """The old name of ``FunctionCall.gather``."""
    deprecated("byoc.functions.gather", "write byoc.FunctionCall.gather(...)")
    found: list[Any] = FunctionCall.gather(*function_calls)
    return found
