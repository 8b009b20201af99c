"""What people may write for a duration, a size, a GPU or a variable on the command line."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from .. import providers
from ..errors import InvalidError
from ..resources import GpuRequest, parse_gpus

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smh]?)")
_MIB = {"": 1.0, "mib": 1.0, "gib": 1024.0, "tib": 1024.0 * 1024.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]*)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def duration(text: str) -> float:
    """``30``, ``30s``, ``5m``, ``1.5h`` -> seconds. Raises :class:`InvalidError`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidError(
            f"{text!r} is not a duration",
            hints=("write seconds, or a number with s, m or h: 90, 30s, 5m, 2h",),
        )
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """``512``, ``512MiB``, ``16GiB``, ``1TiB`` -> MiB, at least 1. Raises :class:`InvalidError`.

    Decimal units (GB) are refused: clouds sell memory and disk in binary ones.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = match[2].lower() if match else ""
    if match is None or unit not in _MIB:
        raise InvalidError(
            f"{text!r} is not a size",
            hints=("write MiB, or a number with MiB, GiB or TiB: 512, 512MiB, 16GiB",),
        )
    amount = round(float(match[1]) * _MIB[unit])
    if amount < 1:
        raise InvalidError(f"{text!r} is less than 1 MiB")
    return amount


def count(text: str) -> int:
    """A positive whole number. Raises :class:`InvalidError`."""
    if not text.strip().isdecimal() or not int(text):
        raise InvalidError(f"{text!r} is not a number of offers", hints=("write 1 or more",))
    return int(text)


MOST_NODES = 64
"""Instances side by side: as many as one installation has at most unless a setting says more."""


def nodes(text: str) -> int:
    """A number of instances. Raises :class:`InvalidError`."""
    if not text.strip().isdecimal() or not 1 <= int(text) <= MOST_NODES:
        raise InvalidError(f"{text!r} is not a number of instances from 1 to {MOST_NODES}")
    return int(text)


def cores(text: str) -> float:
    """A positive number of CPU cores. Raises :class:`InvalidError`."""
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise InvalidError(
            f"{text!r} is not a number of cores", hints=("write a number above 0: 0.5, 8",)
        )
    return amount


def gpus(texts: list[str]) -> tuple[GpuRequest, ...]:
    """Each text is a GPU or a comma list of fallbacks, best first: ``["H100:8,A100-80GB:8"]``."""
    found = tuple(request for text in texts for request in parse_gpus(text))
    if not found:
        raise InvalidError("no GPU is named", hints=("write a name and a count, such as H100:8",))
    return found


def names(texts: list[str]) -> tuple[str, ...]:
    """Comma lists and repeated options flattened, blanks dropped: clouds, regions."""
    found = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    if not found:
        raise InvalidError("no name is given")
    return found


def clouds(texts: list[str]) -> tuple[str, ...]:
    """Names of clouds that this version knows. Raises :class:`InvalidError`."""
    known = providers.names()
    found = names(texts)
    for name in found:
        if name not in known:
            raise InvalidError(
                f"there is no cloud {name!r} in this version of byoc",
                hints=(f"choose from {', '.join(sorted(known))}",),
            )
    return found


def patterns(texts: list[str]) -> tuple[str, ...]:
    """Patterns of offers, as in :class:`~byoc.resources.Resources`; one whose first part fits no
    cloud is a mistake. Raises :class:`InvalidError`."""
    found = names(texts)
    for pattern in found:
        first = pattern.partition("/")[0]
        if not any(fnmatch.fnmatchcase(name, first) for name in providers.names()):
            raise InvalidError(
                f"{pattern!r} fits no cloud",
                hints=(
                    "write the beginning of CLOUD/REGION/ZONE/TYPE/MARKET, with * and ?: */*/*/p5*",
                ),
            )
    return found


def dollars(text: str) -> float:
    """``2.5`` or ``$2.5``: a positive price. Raises :class:`InvalidError`."""
    try:
        amount = float(text.strip().removeprefix("$"))
    except ValueError:
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise InvalidError(
            f"{text!r} is not a price", hints=("write dollars an hour, above 0: 2.50",)
        )
    return amount


def environment(texts: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """``K=V``, or ``K`` to pass on the caller's own value. Raises :class:`InvalidError`."""
    found: dict[str, str] = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not _NAME.fullmatch(name):
            raise InvalidError(
                f"{name!r} is not the name of an environment variable",
                hints=("write NAME=VALUE, or NAME to pass on your own value",),
            )
        if not given and name not in environ:
            raise InvalidError(
                f"the variable {name} is not set here", hints=(f"write {name}=VALUE",)
            )
        found[name] = value if given else environ[name]
    return found
