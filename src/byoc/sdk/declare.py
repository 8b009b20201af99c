"""From a decorator's keywords to a :class:`FunctionSpec`, and from one spec to a variant of it.

A variant is canonical JSON of what ``with_options`` and the like changed, so that a container can
name it and the client can make it again. Secrets appear in it as their marks, which tell no values:
the client finds them among those that it has seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import limits
from ..engine.spec import ONE_AT_A_TIME, Batching, Concurrency, FunctionSpec, RetryPolicy, Source
from ..errors import ConflictError, ExecutionError, InvalidError, NotFoundError
from ..images.recipe import in_container
from ..resources import Resources
from . import cluster, marks, params, preemption
from .marks import Many
from .options import VariantOptions, settled
from .origin import source_of
from .secret import Secret, resolve_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..images.recipe import Image

NAME = re.compile(r"^[a-zA-Z0-9\-_.]{1,64}$")


class Home(NamedTuple):
    """What an app says for all its functions."""

    app: str
    image: Image | None
    secrets: tuple[Secret, ...]
    include_source: bool
    mounts: tuple[Any, ...] = ()


class Kind(NamedTuple):
    """What is declared. ``methods``: of a class, each one's name and whether it yields."""

    raw: Any
    many: Many
    generator: bool = False
    methods: tuple[tuple[str, bool], ...] = ()


class Key(NamedTuple):
    """What a reference names: where the code of a function or class is, and its name in the app."""

    module: str
    qualname: str
    name: str


def stand_in(
    key: Key,
    app: str,
    raw: Any,
    *,
    generator: bool = False,
    methods: tuple[tuple[str, bool], ...] = (),
) -> FunctionSpec:
    """The spec of what was declared elsewhere: enough to call it remotely, by its name."""
    return FunctionSpec(
        app=app,
        name=key.name,
        raw=raw or absent,
        source=Source(key.module, key.qualname, None),
        image=params.image("", None),
        resources=Resources(),
        environ=_Variables((), {}),
        timeout=limits.FUNCTION_TIMEOUT,
        startup_timeout=limits.FUNCTION_TIMEOUT,
        generator=generator,
        methods=methods,
    )


def absent(*args: Any, **kwargs: Any) -> Any:
    """Stands for code that is not in this process. Raises ExecutionError."""
    raise ExecutionError(
        "the code of this function is not in this process", hints=("call it by .remote()",)
    )


def spec_of(home: Home, kind: Kind, where: str, given: Mapping[str, Any]) -> FunctionSpec:
    """The spec of a function or class. ``given``: settled options. Raises InvalidError."""
    serialized = params.flag(where, "serialized", given.get("serialized", False))
    timeout = params.timeout(where, "timeout", given.get("timeout", limits.FUNCTION_TIMEOUT))
    startup = given.get("startup_timeout", timeout)
    least, most, spare = params.containers(
        where,
        given.get("min_containers"),
        given.get("max_containers"),
        given.get("buffer_containers"),
    )
    include = given.get("include_source", home.include_source)
    many = _many(where, kind.many, given.get("inputs"))
    secrets = (*home.secrets, *params.secrets(where, given.get("secrets", ())))
    mounts = (*home.mounts, *given.get("mounts", ()))
    nodes = _nodes(where, kind, many, given)
    return FunctionSpec(
        app=home.app,
        name=checked_name(where, given.get("name")) or kind.raw.__qualname__,
        raw=kind.raw,
        source=source_of(kind.raw, serialized),
        image=_image(where, given.get("image") or home.image, mounts),
        resources=params.resources(where, Resources(), given),
        environ=_Variables(secrets, params.environment(where, given.get("env"))),
        timeout=timeout,
        startup_timeout=params.timeout(where, "startup_timeout", startup),
        serialized=serialized,
        generator=kind.generator,
        include_source=params.flag(where, "include_source", include),
        retries=params.retries(where, given.get("retries"), kind.generator),
        min_containers=least,
        max_containers=most,
        buffer_containers=spare,
        scaledown_window=params.window(where, given.get("scaledown_window")),
        single_use=_single_use(where, given.get("single_use_containers", False), many),
        concurrency=many.concurrency or ONE_AT_A_TIME,
        batching=many.batching,
        methods=kind.methods,
        memory_limit=params.memory_limit(where, given.get("memory")),
        on_preempt=preemption.check(where, given.get("on_preempt")),
        nodes=nodes,
    )


class _Variables:
    """The variables of secrets and ``env``, read when a run asks; later ones win."""

    def __init__(self, secrets: tuple[Secret, ...], env: Mapping[str, str]) -> None:
        self.secrets = secrets
        self.env = env

    def __call__(self) -> dict[str, str]:
        return {**resolve_all(self.secrets), **self.env}


def checked_name(where: str, name: Any) -> str:
    """A name of a function or app; empty for None."""
    if name is None:
        return ""
    if not isinstance(name, str) or not NAME.match(name):
        raise InvalidError(
            f"{where}: name={name!r} must have 1 to 64 letters, digits, '-', '_' and '.'"
        )
    return name


def _image(where: str, given: Any, mounts: Sequence[Any]) -> Image:
    image = params.image(where, given)
    for mount in mounts:
        image = mount.added_to(image)
    return image


def _many(where: str, marked: Many, inputs: Any) -> Many:
    """With what ``allow_concurrent_inputs=`` asked for."""
    if inputs is None:
        return marked
    if marked.concurrency or marked.batching:
        raise ConflictError(
            f"{where}: allow_concurrent_inputs= stands beside @byoc.concurrent or @byoc.batched",
            hints=("keep the decorator",),
        )
    return Many(marks.concurrency(where, inputs, None))


def _nodes(where: str, kind: Kind, many: Many, given: Mapping[str, Any]) -> int:
    """Of a gang; 1 where the function is none."""
    nodes = cluster.of(where, kind.raw, given.get("nodes"))
    others = {
        "@byoc.concurrent": many.concurrency,
        "@byoc.batched": many.batching,
        **{f"{name}=": given.get(name) for name in _COUNTS},
    }
    yields = kind.generator or any(generator for _, generator in kind.methods)
    cluster.check(where, nodes, yields, others)
    return nodes


_COUNTS = ("min_containers", "max_containers", "buffer_containers")


def _single_use(where: str, value: Any, many: Many) -> bool:
    single = params.flag(where, "single_use_containers", value)
    if single and (many.concurrency or many.batching):
        raise ConflictError(
            f"{where}: single_use_containers= gives each input a container of its own, so they "
            "cannot run together",
            hints=("leave out one of the two",),
        )
    return single


# --- variants ---------------------------------------------------------------------------------

_seen: dict[str, Secret] = {}
"""Secrets of variants that this process made, by mark."""


def changes_of(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-able meaning of ``with_options``' keywords, checked."""
    settings = settled(where, given, VariantOptions)
    inputs = settings.pop("inputs", None)
    found: dict[str, Any] = {}
    if settings.get("secrets") is not None:
        secrets = params.secrets(where, settings.pop("secrets"))
        found["secrets"] = [secret.mark for secret in secrets]
        _seen.update((secret.mark, secret) for secret in secrets)
    if settings.get("env") is not None:
        found["env"] = params.environment(where, settings.pop("env"))
    if settings.get("retries") is not None:
        policy = params.retries(where, settings.pop("retries"), False) or RetryPolicy(0)
        found["retries"] = list(policy)
    if settings.get("gpu") is not None:
        found["gpu"] = [str(one) for one in params.gpus(where, settings.pop("gpu"))]
    found.update(settings)
    if inputs is not None:
        found.update(concurrency_change(where, inputs, None))
    return found


def concurrency_change(where: str, most: Any, target: Any) -> dict[str, Any]:
    """What ``with_concurrency`` changes."""
    return {"concurrency": list(marks.concurrency(where, most, target))}


def batching_change(where: str, size: Any, wait: Any) -> dict[str, Any]:
    """What ``with_batching`` changes."""
    return {"batching": list(marks.batching(where, size, wait))}


def merged(variant: str, changes: Mapping[str, Any]) -> str:
    """The JSON of a variant after further changes; empty when nothing is changed at all."""
    both = {**json.loads(variant or "{}"), **changes}
    if "concurrency" in changes:
        both.pop("batching", None)
    if "batching" in changes:
        both.pop("concurrency", None)
    try:
        return json.dumps(both, sort_keys=True, separators=(",", ":")) if both else ""
    except TypeError as error:
        raise InvalidError(f"with_options: {error}") from None


def varied(base: FunctionSpec, where: str, variant: str) -> FunctionSpec:
    """``base``, which is no variant itself, with what the JSON says. Raises InvalidError, and
    NotFoundError for secrets that this process has not seen."""
    changes = json.loads(variant)
    given = {name: _plain(value) for name, value in changes.items()}
    least, most, spare = params.containers(
        where,
        given.get("min_containers", base.min_containers),
        given.get("max_containers", base.max_containers),
        given.get("buffer_containers", base.buffer_containers),
    )
    fields: dict[str, Any] = {
        "variant": variant,
        "resources": params.resources(where, base.resources, given),
        "min_containers": least,
        "max_containers": most,
        "buffer_containers": spare,
    }
    readers: dict[str, Callable[[Any], dict[str, Any]]] = {
        "timeout": lambda value: {"timeout": params.timeout(where, "timeout", value)},
        "scaledown_window": lambda value: {"scaledown_window": params.window(where, value)},
        "memory": lambda value: {"memory_limit": params.memory_limit(where, value)},
        "retries": lambda value: {"retries": _policy(where, base, value)},
        "concurrency": lambda value: {"concurrency": Concurrency(*value), "batching": None},
        "batching": lambda value: {"batching": Batching(*value), "concurrency": ONE_AT_A_TIME},
    }
    for name, read in readers.items():
        if name in given:
            fields.update(read(given[name]))
    if "secrets" in given or "env" in given:
        fields["environ"] = _other_variables(base, changes)
    return replace(base, **fields)


def _plain(value: Any) -> Any:
    """Pairs are tuples where they are parameters, and lists in JSON."""
    return tuple(value) if isinstance(value, list) else value


def _policy(where: str, base: FunctionSpec, value: Any) -> RetryPolicy | None:
    policy = RetryPolicy(*value)
    if policy.max_retries and base.generator:
        raise InvalidError(f"{where}: a generator function cannot have retries")
    return policy if policy.max_retries else None


def _other_variables(base: FunctionSpec, changes: Mapping[str, Any]) -> _Variables:
    """Secrets replace all that there were, ``env`` included; ``env`` alone is added."""
    known = base.environ if isinstance(base.environ, _Variables) else _Variables((), {})
    secrets, env = known.secrets, dict(known.env)
    if "secrets" in changes:
        if in_container():
            return known  # the client has the values, and a container is started by it
        missing = [mark for mark in changes["secrets"] if mark not in _seen]
        if missing:
            raise NotFoundError(
                f"a variant of {base.name} asks for secrets that the client does not have",
                hints=("make the variant at the top level of its module",),
            )
        secrets, env = tuple(_seen[mark] for mark in changes["secrets"]), {}
    env.update(changes.get("env", {}))
    return _Variables(secrets, env)
