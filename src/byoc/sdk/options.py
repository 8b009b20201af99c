"""The keywords of ``@app.function`` and ``@app.cls``: current ones, old ones, those of later work.

An old name means what its new name does and warns once; what later work brings is refused by name;
anything else is an unknown keyword. Values are checked by :mod:`byoc.sdk.declare`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import ArgumentError, ConflictError, InvalidError, NotYetError
from ..images.mount import Mount
from ..notices import deprecated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..images.recipe import Image
    from .secret import Secret


class VariantOptions(TypedDict, total=False):
    """What ``with_options`` takes; each as in :class:`SharedOptions`."""

    cpu: float | tuple[float, float] | None
    memory: int | tuple[int, int] | None
    gpu: str | Sequence[str] | None
    env: Mapping[str, str] | None
    secrets: Sequence[Secret] | None
    volumes: Mapping[str, Any] | None
    retries: Any
    min_containers: int | None
    max_containers: int | None
    buffer_containers: int | None
    scaledown_window: int | None
    timeout: float | None
    region: str | Sequence[str] | None
    cloud: str | Sequence[str] | None
    routing_region: str | None


class SharedOptions(VariantOptions, total=False):
    """What functions and classes take.

    ``gpu``: ``"H100"``, ``"H100:8"`` or a list in order of preference. ``cpu``: physical cores.
    ``memory``, ``ephemeral_disk``: MiB; ``cpu`` and ``memory`` may be (request, limit), of which
    the limit of memory is enforced. ``timeout``: seconds of each attempt, queueing and start-up not
    counted (``startup_timeout``, else the same). ``secrets``, ``env``: variables, later ones win.
    ``nodes``: so many containers, each on an instance of its own, take each input together
    (docs/gangs.md). ``serialized``: send it pickled (notebooks, closures). ``scaledown_window``:
    seconds.
    """

    image: Image | None
    serialized: bool
    network_file_systems: Mapping[str, Any] | None
    ephemeral_disk: int | None
    proxy: Any
    startup_timeout: float | None
    nonpreemptible: bool
    enable_memory_snapshot: bool
    block_network: bool
    restrict_modal_access: bool
    single_use_containers: bool
    nodes: int | None
    i6pn: bool | None
    include_source: bool | None
    experimental_options: Mapping[str, Any] | None


class FunctionOptions(SharedOptions, total=False):
    """And of functions only: ``name``, the name in the app; ``is_generator``, where it cannot be
    seen from the code; ``on_preempt``, called with a :class:`byoc.Preemption` or nothing before its
    machine is taken away (a class decorates a method for it); ``schedule``, which later work
    brings."""

    schedule: Any
    name: str | None
    is_generator: bool | None
    on_preempt: Callable[..., Any] | None


_LATER = {
    "schedule": "schedules run only for deployed apps",
    "volumes": "volumes come later",
    "shared_volumes": "volumes come later",
    "network_file_systems": "use a volume once volumes are there",
    "proxy": "proxies with a fixed address come later",
    "block_network": "containers without a network come later",
    "restrict_modal_access": "restricting access from inside comes later",
    "i6pn": "private IPv6 networks come later",
    "enable_memory_snapshot": "leave it out: hooks with snap=True run before the other enter hooks",
    "checkpointing_enabled": "leave it out: hooks with snap=True run before the other enter hooks",
    "experimental_options": "there are no experimental options",
    "routing_region": "routing regions come with web endpoints",
    "interactive": "byoc ssh opens a shell on a live instance",
    "cluster": "clusters come later",
    "tags": "tags come later",
    "client": "there is one client",
    "detach": "write byoc run --detach",
    "environment_name": "there is one environment",
}
"""Documented parameters that this version lacks; any value but the default is refused by name."""
_GONE = frozenset(("shared_volumes", "checkpointing_enabled", "interactive"))
"""Those of them that only older versions of Modal took."""
_EXPERIMENTAL = "_experimental_"
RENAMED = {
    "concurrency_limit": "max_containers",
    "container_idle_timeout": "scaledown_window",
    "keep_warm": "min_containers",
    "_experimental_buffer_containers": "buffer_containers",
}
"""Old names that mean the same as a new one."""


def refuse_later(where: str, given: Mapping[str, Any]) -> None:
    """Raise NotYetError for a parameter that asks for something this version does not have."""
    for name, value in given.items():
        if value:
            raise NotYetError(
                f"{where}: {name}= is not available in this version of byoc",
                hints=(_LATER.get(name, "leave it out"),),
            )


def settled(where: str, given: Mapping[str, Any], known: type) -> dict[str, Any]:
    """The options under their current names, those that are None left out.

    Two may be there that have no name of their own any more: ``mounts``, and ``inputs``, the
    number that ``allow_concurrent_inputs`` asked for. ``known``: the TypedDict of what is taken.
    Raises ArgumentError for an unknown keyword, NotYetError, ConflictError.
    """
    names = frozenset(known.__annotations__)
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _OLD:
            _put_old(where, found, name, value, names)
        elif name in RENAMED:
            _put_renamed(where, found, name, value, given)
        elif name not in names and name not in _GONE and not name.startswith(_EXPERIMENTAL):
            raise _unknown(where, name, names)
        elif name in _LATER or name not in names:
            refuse_later(where, {name: value})
        elif value is not None or name == "timeout":
            found[name] = value
    return found


def _unknown(where: str, name: str, names: Iterable[str]) -> ArgumentError:
    every = sorted({*names, *RENAMED, *_OLD})
    close = difflib.get_close_matches(name, every, 1)
    guess = f" (did you mean {close[0]}=?)" if close else ""
    return ArgumentError(f"{where} has no parameter {name}={guess}")


def _put_renamed(
    where: str, found: dict[str, Any], name: str, value: Any, given: Mapping[str, Any]
) -> None:
    new = RENAMED[name]
    if given.get(new) is not None and value is not None:
        raise ConflictError(
            f"{where}: {name}= and {new}= are the old and the new name of one parameter",
            hints=(f"keep {new}=",),
        )
    deprecated(f"{name}=", f"write {new}=")
    if value is not None:
        found[new] = value


def _put_old(
    where: str, found: dict[str, Any], name: str, value: Any, names: frozenset[str]
) -> None:
    if name != "allow_concurrent_inputs" and "image" not in names:
        raise _unknown(where, name, names)
    if value is None:
        return
    advice, put = _OLD[name]
    deprecated(f"{name}=", advice)
    put(where, found, value)


def _secret(where: str, found: dict[str, Any], value: Any) -> None:
    if found.get("secrets"):
        raise ConflictError(
            f"{where}: secret= and secrets= are both given", hints=("keep secrets=",)
        )
    found["secrets"] = [value]


def _mounts(where: str, found: dict[str, Any], value: Any) -> None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, Mount) for one in value):
        raise InvalidError(f"{where}: mounts= must be a list of Mount")
    found["mounts"] = tuple(value)


def _inputs(where: str, found: dict[str, Any], value: Any) -> None:
    found["inputs"] = value


def _single_use(where: str, found: dict[str, Any], value: Any) -> None:
    if value != 1 or isinstance(value, bool):
        raise InvalidError(
            f"{where}: max_inputs={value!r} must be 1",
            hints=("for several inputs at once use @byoc.concurrent(max_inputs=...)",),
        )
    found["single_use_containers"] = True


_OLD: dict[str, tuple[str, Callable[[str, dict[str, Any], Any], None]]] = {
    "allow_concurrent_inputs": ("write @byoc.concurrent(max_inputs=...)", _inputs),
    "secret": ("write secrets=[...]", _secret),
    "mounts": ("write image.add_local_dir(...) or add_local_file(...)", _mounts),
    "max_inputs": ("write single_use_containers=True", _single_use),
}
"""Old names with a shape of their own: what to write now, and what takes the value over."""
