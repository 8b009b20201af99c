"""The parameters of ``@app.function``, checked where they are written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.spec import RetryPolicy
from ..errors import InvalidError
from ..images.recipe import Image
from ..resources import GpuRequest, Resources, parse_gpus
from .secret import Secret

MAX_TIMEOUT = 86400.0
"""Modal's limit: a day."""
LEAST_CORES = 0.125
"""Modal's smallest share of a core, and its default."""
MOST_CORES = 1024
"""More than any instance type has."""


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


def resources(where: str, base: Resources, given: Mapping[str, Any]) -> Resources:
    """``base`` with what ``given`` asks for: ``gpu``, ``cpu``, ``memory``, ``ephemeral_disk``,
    ``cloud``, ``region``, ``nonpreemptible``; None changes nothing. Of a (request, limit) pair the
    request counts for placement."""
    found: dict[str, Any] = {}
    if given.get("gpu") is not None:
        found["gpus"] = gpus(where, given["gpu"])
    if given.get("cpu") is not None:
        cores, _ = pair(where, "cpu", given["cpu"])
        found["cpu"] = max(number(where, "cpu", cores, 0, MOST_CORES), LEAST_CORES)
    if given.get("memory") is not None:
        mib, _ = pair(where, "memory", given["memory"])
        found["memory"] = int(number(where, "memory", mib, 1, whole=True))
    if given.get("ephemeral_disk") is not None:
        disk = given["ephemeral_disk"]
        found["disk"] = int(number(where, "ephemeral_disk", disk, 1, 3 << 20, whole=True))
    if given.get("cloud") is not None:
        named = _texts(where, "cloud", given["cloud"])
        found["clouds"] = () if named == ("auto",) else named
    if given.get("region") is not None:
        found["regions"] = _texts(where, "region", given["region"])
    if flag(where, "nonpreemptible", given.get("nonpreemptible") or False):
        found["market"] = "on-demand"
    return base._replace(**found)


def memory_limit(where: str, value: Any) -> int | None:
    """MiB above which a container is killed: the limit of a (request, limit) pair."""
    if value is None:
        return None
    _, limit = pair(where, "memory", value)
    return None if limit is None else int(number(where, "memory limit", limit, 1, whole=True))


def gpus(where: str, value: Any) -> tuple[GpuRequest, ...]:
    """``gpu=``: a name, or a list of names in order of preference. Raises InvalidError."""
    try:
        return parse_gpus(value)
    except InvalidError as error:
        raise InvalidError(f"{where}: {error.message}", hints=error.hints) from None


def pair(where: str, name: str, value: Any) -> tuple[Any, Any]:
    """(request, limit) of ``cpu=`` or ``memory=``; the limit of a plain value is None."""
    if not isinstance(value, (tuple, list)):
        return value, None
    if len(value) != 2:
        raise InvalidError(f"{where}: {name}={value!r} must be a number or (request, limit)")
    request, limit = value
    number(where, f"{name} limit", limit, 0)
    if number(where, f"{name} request", request, 0) > limit:
        raise InvalidError(f"{where}: {name}={value!r} asks for more than its limit")
    return request, limit


def _texts(where: str, name: str, value: Any) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) and v for v in values):
        raise InvalidError(f"{where}: {name}={value!r} must be a string or a list of strings")
    return tuple(v.lower() for v in values)


def flag(where: str, name: str, value: Any) -> bool:
    """True or False. Raises InvalidError that names the parameter."""
    if not isinstance(value, bool):
        raise InvalidError(f"{where}: {name}={value!r} must be True or False")
    return value


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
