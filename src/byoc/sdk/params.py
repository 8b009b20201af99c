"""The parameters of ``@app.function``, checked where they are written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.spec import RetryPolicy
from ..errors import InvalidError, NotYetError
from ..images.recipe import Image
from ..resources import Resources, parse_gpus
from .secret import Secret

MAX_TIMEOUT = 86400.0
"""Modal's limit: a day."""
LATER = {
    "schedule": "schedules run only for deployed apps",
    "volumes": "volumes",
    "network_file_systems": "network file systems (use a volume once volumes are there)",
    "proxy": "proxies with a fixed address",
    "block_network": "containers without a network",
    "restrict_modal_access": "restricting access from inside",
    "i6pn": "private IPv6 networks",
    "enable_memory_snapshot": "memory snapshots",
    "experimental_options": "experimental options",
    "routing_region": "routing regions",
    "cluster": "clusters",
}
"""Documented parameters of later work; any value but the default is refused by name."""


def refuse_later(where: str, given: Mapping[str, Any]) -> None:
    """Raise NotYetError for a parameter that asks for something this version does not have."""
    for name, value in given.items():
        if value:
            what = LATER.get(name, name)
            raise NotYetError(f"{where}: {name}= is not available in this version of byoc ({what})")


def number(
    where: str, name: str, value: Any, low: float, high: float = math.inf, whole: bool = False
) -> float:
    """A number in its range. Raises InvalidError that names the parameter."""
    kind = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= float(value) <= high:
        what = "a whole number" if whole else "a number"
        span = f"of at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise InvalidError(f"{where}: {name}={value!r} must be {what} {span}")
    return float(value)


def resources(
    where: str,
    *,
    gpu: Any,
    cpu: Any,
    memory: Any,
    disk: Any,
    cloud: Any,
    region: Any,
    nonpreemptible: Any,
) -> Resources:
    """What the function asks for. ``cpu`` and ``memory`` may be (request, limit) pairs: the
    request counts for placement."""
    given: dict[str, Any] = {"gpus": parse_gpus(gpu)}
    if cpu is not None:
        given["cpu"] = max(number(where, "cpu", _request(where, "cpu", cpu), 0, 1024), 0.125)
    if memory is not None:
        given["memory"] = int(
            number(where, "memory", _request(where, "memory", memory), 1, whole=True)
        )
    if disk is not None:
        given["disk"] = int(number(where, "ephemeral_disk", disk, 1, 3 << 20, whole=True))
    if cloud is not None and cloud != "auto":
        given["clouds"] = _texts(where, "cloud", cloud)
    if region is not None:
        given["regions"] = _texts(where, "region", region)
    if _flag(where, "nonpreemptible", nonpreemptible):
        given["market"] = "on-demand"
    return Resources(**given)


def _request(where: str, name: str, value: Any) -> Any:
    """The request of a (request, limit) pair, or the plain value."""
    if not isinstance(value, tuple):
        return value
    if len(value) != 2:
        raise InvalidError(f"{where}: {name}={value!r} must be a number or (request, limit)")
    request, limit = value
    number(where, f"{name} limit", limit, 0)
    if number(where, f"{name} request", request, 0) > limit:
        raise InvalidError(f"{where}: {name}={value!r} asks for more than its limit")
    return request


def _texts(where: str, name: str, value: Any) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) and v for v in values):
        raise InvalidError(f"{where}: {name}={value!r} must be a string or a list of strings")
    return tuple(v.lower() for v in values)


def _flag(where: str, name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidError(f"{where}: {name}={value!r} must be True or False")
    return value


def flag(where: str, name: str, value: Any) -> bool:
    """True or False. Raises InvalidError that names the parameter."""
    return _flag(where, name, value)


def timeout(where: str, name: str, value: Any) -> float:
    """Seconds of an attempt."""
    return number(where, name, value, 1, MAX_TIMEOUT)


def retries(where: str, value: Any, generator: bool) -> RetryPolicy | None:
    """``retries=``: an int means a fixed second of pause, as in Modal."""
    if value is None:
        return None
    policy = getattr(value, "policy", None)
    if isinstance(policy, RetryPolicy):
        found = policy
    else:
        found = RetryPolicy(int(number(where, "retries", value, 0, 10, whole=True)))
    if generator and found.max_retries:
        raise InvalidError(f"{where}: a generator function cannot have retries")
    return found if found.max_retries else None


def secrets(where: str, value: Any) -> tuple[Secret, ...]:
    """A list of Secret."""
    if isinstance(value, Secret) or not isinstance(value, Sequence):
        raise InvalidError(f"{where}: secrets= must be a list of Secret")
    for one in value:
        if not isinstance(one, Secret):
            raise InvalidError(f"{where}: secrets= holds {one!r}, which is not a Secret")
    return tuple(value)


def environment(where: str, value: Any) -> dict[str, str]:
    """``env=``: names and string values."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidError(f"{where}: env= must be a dict of strings")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidError(f"{where}: env={{{name!r}: {text!r}}} must hold strings only")
    return dict(value)


def image(where: str, value: Any) -> Image:
    """An Image; None means debian_slim with the client's Python."""
    if value is None:
        return Image.debian_slim()
    if not isinstance(value, Image):
        raise InvalidError(f"{where}: image={value!r} is not an Image")
    return value


def containers(where: str, low: Any, high: Any, buffer: Any) -> tuple[int, int | None, int]:
    """min_containers, max_containers, buffer_containers."""
    least = int(number(where, "min_containers", low, 0, whole=True)) if low is not None else 0
    most = int(number(where, "max_containers", high, 1, whole=True)) if high is not None else None
    spare = int(number(where, "buffer_containers", buffer, 0, whole=True)) if buffer else 0
    if most is not None and least > most:
        raise InvalidError(
            f"{where}: min_containers ({least}) is more than max_containers ({most})"
        )
    return least, most, spare


def window(where: str, value: Any) -> float | None:
    """``scaledown_window=``: 2 s to 1 h."""
    return None if value is None else number(where, "scaledown_window", value, 2, 3600)
