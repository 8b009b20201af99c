"""The options that ``byoc run``, ``exec``, ``plan`` and ``capacity`` share, declared as data.

A command's function takes one :class:`Common` and not a dozen keywords.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import typer

from .. import errors
from ..engine.options import RunOptions
from ..resources import GpuRequest
from . import complete, values
from .command import OUTPUT, Shared, flag

T = TypeVar("T")


class Common(NamedTuple):
    """The shared options as given; None or empty means: not given. Units as in RunOptions.
    ``words``: the same as they would be typed, without those about output."""

    gpu: tuple[GpuRequest, ...] | None = None
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    nodes: int | None = None
    cloud: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    spot: bool | None = None
    max_price: float | None = None
    hedge: int | None = None
    exclude: tuple[str, ...] = ()
    timeout: float | None = None
    idle: float | None = None
    keep: bool | None = None
    detach: bool = False
    dry_run: bool = False
    verbose: bool = False
    words: tuple[str, ...] = ()

    @property
    def market(self) -> str | None:
        """``spot``, ``on-demand`` or None."""
        return None if self.spot is None else "spot" if self.spot else "on-demand"

    def flags(self) -> dict[str, Any]:
        """What was given, under the names of the settings. Not ``exclude``: it adds to them."""
        given = {
            "gpu": self.gpu,
            "cpu": self.cpu,
            "memory": self.memory,
            "disk": self.disk,
            "clouds": self.cloud or None,
            "regions": self.region or None,
            "market": self.market,
            "max_price": self.max_price,
            "hedge": self.hedge,
            "timeout": self.timeout,
            "idle": self.idle,
            "keep": self.keep,
        }
        return {name: value for name, value in given.items() if value is not None}

    def run_options(self, **more: Any) -> RunOptions:
        """For the engine, with the fields of RunOptions that are not options."""
        return RunOptions(
            gpu=self.gpu,
            cpu=self.cpu,
            memory=self.memory,
            disk=self.disk,
            nodes=self.nodes,
            clouds=self.cloud,
            regions=self.region,
            market=self.market,
            max_price=self.max_price,
            exclude=self.exclude,
            timeout=self.timeout,
            idle=self.idle,
            **more,
        )


class Asked(NamedTuple):
    """What ``byoc run`` was asked for. ``line``: the whole command line; ``driver``: see
    :class:`byoc.cli.drivers.Driver`; ``name``: of the run, else the function's; ``result``: the
    file that the value goes to, if any."""

    reference: str
    module: bool
    args: tuple[str, ...]
    line: tuple[str, ...]
    driver: str
    name: str = ""
    result: str = ""


class Command(NamedTuple):
    """What ``byoc exec`` was asked for; ``line`` and ``driver`` as in :class:`Asked`."""

    words: list[str]
    artifacts: list[str]
    env: list[str]
    cwd: str
    line: tuple[str, ...]
    driver: str


def _text(text: str, metavar: str, help: str, panel: str) -> tuple[Any, Any]:
    return str | None, typer.Option(None, text, metavar=metavar, help=help, rich_help_panel=panel)


def _list(
    text: str, metavar: str, help: str, panel: str, offered: Callable[..., list[str]] | None = None
) -> tuple[Any, Any]:
    return list[str] | None, typer.Option(
        None, text, metavar=metavar, help=help, rich_help_panel=panel, autocompletion=offered
    )


_WHERE, _LIFE = "Where it runs", "How long"

_GPU: dict[str, tuple[Any, Any]] = {
    "gpu": _list(
        "--gpu",
        "NAME[:COUNT]",
        "GPU; a comma list or repeats are fallbacks.",
        _WHERE,
        complete.gpus,
    ),
}
_PLACE: dict[str, tuple[Any, Any]] = {
    "cpu": _text("--cpu", "CORES", "CPU cores.", _WHERE),
    "memory": _text("--memory", "SIZE", "Memory: 16GiB, 512MiB or MiB.", _WHERE),
    "disk": _text("--disk", "SIZE", "Disk: 100GiB or MiB.", _WHERE),
    "cloud": _list("--cloud", "NAME", "Use only this cloud; repeatable.", _WHERE, complete.clouds),
    "region": _list(
        "--region", "NAME", "Use only this region; repeatable.", _WHERE, complete.regions
    ),
    "spot": flag("--spot/--on-demand", "Use only this market.", _WHERE),
    "max_price": _text("--max-price", "DOLLARS", "Pay at most this an hour.", _WHERE),
    "exclude": _list(
        "--exclude", "PATTERN", "Never these: CLOUD/REGION/ZONE/TYPE; repeatable.", _WHERE
    ),
}
_SIDE: dict[str, tuple[Any, Any]] = {
    "nodes": _text("--nodes", "N", "Run on so many instances side by side.", _WHERE),
}
_TIMES: dict[str, tuple[Any, Any]] = {
    "timeout": _text("--timeout", "TIME", "Stop each call after: 90, 5m, 2h.", _LIFE),
    "idle": _text("--idle", "TIME", "Keep the instance warm this long afterwards.", _LIFE),
    "keep": flag("--keep/--no-keep", "Keep it warm, or end it at once.", _LIFE),
}
_NOW: dict[str, tuple[Any, Any]] = {
    "detach": flag("--detach -d", "Go on in the background; print the run's id.", _LIFE, False),
    "dry_run": flag("--dry-run", "Show where it would run; launch nothing.", _WHERE, False),
}
_MORE: dict[str, tuple[Any, Any]] = {
    "verbose": flag("--verbose -v", "Leave nothing out: every offer, every wait.", OUTPUT, False),
}
_HEDGE: dict[str, tuple[Any, Any]] = {
    "hedge": _text("--hedge", "N", "Ask N offers at once, keep the first sound one.", _WHERE),
}
_REQUEST = {**_GPU, **_PLACE, **_SIDE, **_HEDGE, **_TIMES}
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "gpu": values.gpus,
    "cpu": values.cores,
    "memory": values.size,
    "disk": values.size,
    "nodes": values.nodes,
    "cloud": values.clouds,
    "region": values.names,
    "max_price": values.dollars,
    "hedge": values.count,
    "exclude": values.patterns,
    "timeout": values.duration,
    "idle": values.duration,
}


def parsed(option: str, parse: Callable[[Any], T], value: Any) -> T:
    """``parse(value)``, or an :class:`~byoc.errors.InvalidError` that names the option."""
    try:
        return parse(value)
    except errors.InvalidError as error:
        raise errors.InvalidError(
            f"invalid value for '{option}': {error.message}", hints=error.hints
        ) from None


def common(given: dict[str, Any]) -> Common:
    """Take the shared options out of ``given`` (as typer parsed them) and parse their values."""
    raw = {name: given.pop(name) for name in Common._fields if name in given}
    taken = {name: value for name, value in raw.items() if value is not None and value != ()}
    taken = {n: list(v) if isinstance(v, tuple) else v for n, v in taken.items() if v != []}
    words = tuple(word for name in _REQUEST for word in _typed(name, taken.get(name)))
    for name, parse in _PARSERS.items():
        if name in taken:
            taken[name] = parsed("--" + name.replace("_", "-"), parse, taken[name])
    return Common(**taken, words=words)


def _typed(name: str, value: Any) -> list[str]:
    """An option as it would be typed."""
    if value is None:
        return []
    yes, _, no = _REQUEST[name][1].param_decls[0].partition("/")
    if isinstance(value, bool):
        return [yes if value else no]
    return [word for one in (value if isinstance(value, list) else [value]) for word in (yes, one)]


def _shared(*tables: dict[str, tuple[Any, Any]]) -> Shared:
    table = {name: row for one in tables for name, row in one.items()}
    return Shared(table, lambda given: {"common": common(given)})


RUN = _shared(_REQUEST, _NOW, _MORE)
"""Of ``run`` and ``exec``; for :func:`byoc.cli.command.command`, as the others."""
PLAN = _shared(_REQUEST)
"""Of ``plan``."""
PLACE = _shared(_PLACE, _MORE)
"""Of ``capacity``."""
