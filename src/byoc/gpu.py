"""``byoc.gpu``: Modal's old GPU objects. Each is the text to write now, and warns once.

``gpu=byoc.gpu.A100(size="80GB", count=2)`` means ``gpu="A100-80GB:2"``.
"""

from __future__ import annotations

from .errors import InvalidError
from .notices import deprecated
from .resources import parse_gpu

__all__ = ["A10G", "A100", "B200", "H100", "H200", "L4", "L40S", "T4", "Any"]

_A100 = {"40": "A100-40GB", "80": "A100-80GB"}


def _gpu(old: str, name: str, count: int | None) -> str:
    if isinstance(count, bool) or not isinstance(count, (int, type(None))):
        raise InvalidError(f"byoc.gpu.{old}: count={count!r} must be a whole number")
    text = str(parse_gpu(f"{name}:{1 if count is None else count}"))
    deprecated(f"byoc.gpu.{old}()", f"write gpu={text!r}")
    return text


def T4(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA T4, 16 GB."""
    return _gpu("T4", "T4", count)


def L4(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA L4, 24 GB."""
    return _gpu("L4", "L4", count)


def A10G(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA A10G, 24 GB."""
    return _gpu("A10G", "A10G", count)


def L40S(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA L40S, 48 GB."""
    return _gpu("L40S", "L40S", count)


def A100(  # noqa: N802 - Modal's name
    *, count: int | None = 1, size: str | None = None, memory: int = 0
) -> str:
    """NVIDIA A100. ``size``: ``"40GB"`` or ``"80GB"``; ``memory``, older still: 40 or 80."""
    if size is not None and memory:
        raise InvalidError("byoc.gpu.A100: size= and memory= say the same; write size= only")
    given = str(memory) if memory else (size or "40GB").upper().replace("GB", "")
    if given not in _A100:
        raise InvalidError(f"byoc.gpu.A100 has 40 or 80 GB of memory, not {given}")
    return _gpu("A100", _A100[given], count)


def H100(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA H100, 80 GB."""
    return _gpu("H100", "H100", count)


def H200(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA H200, 141 GB."""
    return _gpu("H200", "H200", count)


def B200(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """NVIDIA B200, 180 GB."""
    return _gpu("B200", "B200", count)


def Any(count: int | None = 1) -> str:  # noqa: N802 - Modal's name
    """Any GPU."""
    return _gpu("Any", "any", count)
