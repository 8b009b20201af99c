"""Find what in an imported program is to be run. Modal's precedence (client 1.6.4)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import InvalidError, NotFoundError
from .app import App
from .cls import Cls
from .entrypoint import LocalEntrypoint
from .function import Function


class MethodOf(NamedTuple):
    """A method of a class, still without an object."""

    owner: Cls
    method: str

    @property
    def is_generator(self) -> bool:
        """It yields."""
        return self.owner.spec.yields(self.method)


Target = Function | LocalEntrypoint | MethodOf
_LISTED = 10
"""How many names an error lists."""


class Runnable(NamedTuple):
    """One function, method or local entrypoint, the app it belongs to, and what it is called."""

    name: str
    app: App
    target: Target


def choose(module: ModuleType, name: str, shown: str) -> Runnable:
    """What ``shown::name`` means; without a name, the only candidate of the best rank.

    The ranks: entrypoints of the module, its functions, entrypoints of its apps, their functions.
    Raises :class:`NotFoundError` or :class:`InvalidError` with the names that exist.
    """
    ranks = _ranks(module)
    if not any(ranks):
        raise _nothing(module, shown)
    if name:
        return _named(module, name, shown, ranks)
    at, best = next((at, rank) for at, rank in enumerate(ranks) if rank)
    if len(best) > 1:
        what = "functions" if at % 2 else "local entrypoints"
        raise InvalidError(
            f"{shown} has {len(best)} {what}: say which one to run",
            hints=(_listing(shown, sorted(best)),),
        )
    return next(iter(best.values()))


def candidates(module: ModuleType) -> list[str]:
    """The names of the best rank: what a reference without a name could mean."""
    return sorted(next((rank for rank in _ranks(module) if rank), {}))


def _ranks(module: ModuleType) -> list[dict[str, Runnable]]:
    seen: set[int] = set()
    entrypoints: dict[str, Runnable] = {}
    functions: dict[str, Runnable] = {}
    for name, value in vars(module).items():
        if isinstance(value, (Function, Cls, LocalEntrypoint)):
            place = entrypoints if isinstance(value, LocalEntrypoint) else functions
            place.update(_runnables(name, value.app, value))
            seen.add(id(value))
    hidden_entrypoints: dict[str, Runnable] = {}
    hidden_functions: dict[str, Runnable] = {}
    for variable, app in _apps(module).items():
        for place, registered in (
            (hidden_entrypoints, app.registered_entrypoints),
            (hidden_functions, app.registered_functions),
            (hidden_functions, app.registered_classes),
        ):
            for name, target in registered.items():
                if id(target) not in seen:
                    place.update(_runnables(f"{variable}.{name}", app, target))
    return [entrypoints, functions, hidden_entrypoints, hidden_functions]


def _runnables(name: str, app: object, target: Any) -> dict[str, Runnable]:
    """What can be run of one declared thing: itself, or each method of a class."""
    if not isinstance(app, App):  # its code came by reference, which never happens in a module
        return {}
    if not isinstance(target, Cls):
        return {name: Runnable(name, app, target)}
    names = {f"{name}.{method}": method for method in target.methods}
    return {full: Runnable(full, app, MethodOf(target, method)) for full, method in names.items()}


def _apps(module: ModuleType) -> dict[str, App]:
    """The module's apps by variable; one with two names counts once, under the first."""
    found: dict[str, App] = {}
    for name, value in vars(module).items():
        if isinstance(value, App) and all(value is not other for other in found.values()):
            found[name] = value
    return found


def _named(module: ModuleType, name: str, shown: str, ranks: list[dict[str, Runnable]]) -> Runnable:
    known = {found: runnable for rank in ranks for found, runnable in rank.items()}
    if name in known:
        return known[name]
    value = vars(module).get(name)
    if isinstance(value, Cls):
        mine = {n: r for n, r in known.items() if n.rpartition(".")[0] == name}
        return _only(mine, shown, f"{name!r} is a class: say which method to run")
    if isinstance(value, App):
        mine = {n: r for n, r in known.items() if r.app is value}
        return _only(mine, shown, f"{name!r} is an App: say what of it to run")
    found = _registered(module, name) or _hidden(ranks, name) or _called(known, name)
    if found is not None:
        return found
    if callable(value):
        raise InvalidError(
            f"{name!r} in {shown} is an ordinary function: byoc does not know it",
            hints=("put @app.function() or @app.local_entrypoint() above it",),
        )
    raise NotFoundError(f"there is no {name!r} in {shown}", hints=_close(shown, name, known))


def _only(mine: Mapping[str, Runnable], shown: str, wrong: str) -> Runnable:
    """The single candidate. Raises InvalidError, which lists them."""
    if len(mine) != 1:
        raise InvalidError(wrong, hints=(_listing(shown, sorted(mine)),) if mine else ())
    return next(iter(mine.values()))


def _hidden(ranks: list[dict[str, Runnable]], name: str) -> Runnable | None:
    """``file.py::fn`` for one that only its app knows."""
    for rank in ranks[2:]:
        for full, runnable in rank.items():
            if full.partition(".")[2] == name:
                return runnable
    return None


def _called(known: Mapping[str, Runnable], name: str) -> Runnable | None:
    """``file.py::name`` for one that has another variable's name in the module."""
    for runnable in known.values():
        if not isinstance(runnable.target, MethodOf) and runnable.target.name == name:
            return runnable
    return None


def _registered(module: ModuleType, name: str) -> Runnable | None:
    """What ``app.registered`` means, where ``registered`` may be ``Class.method``."""
    variable, _, registered = name.partition(".")
    app = vars(module).get(variable)
    if not isinstance(app, App):
        return None
    for place in (app.registered_entrypoints, app.registered_functions):
        if registered in place:
            return Runnable(name, app, place[registered])
    tag, _, method = registered.rpartition(".")
    owner = app.registered_classes.get(tag)
    if owner is None or method not in owner.methods:
        return None
    return Runnable(name, app, MethodOf(owner, method))


def _close(shown: str, name: str, known: Mapping[str, Runnable]) -> tuple[str, ...]:
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return (f"did you mean {shown}::{close[0]}?",)
    return (_listing(shown, sorted(known)),)


def _listing(shown: str, found: list[str]) -> str:
    listed = ", ".join(f"{shown}::{name}" for name in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"run one of {listed}{more}"


def _nothing(module: ModuleType, shown: str) -> NotFoundError:
    if not _apps(module):
        return NotFoundError(
            f"{shown} declares no App", hints=('add app = byoc.App("name") at its top level',)
        )
    return NotFoundError(
        f"{shown} has no function and no local entrypoint",
        hints=("put @app.function() or @app.local_entrypoint() above what is to be run",),
    )
