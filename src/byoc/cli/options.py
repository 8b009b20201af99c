"""The options that ``byoc run`` and ``byoc exec`` share, declared as data.

A command's function takes one :class:`Common` and not a dozen keywords.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import typer

from .. import errors
from ..engine.options import RunOptions
from ..resources import GpuRequest
from . import values
from .command import Shared, flag

T = TypeVar("T")


class Common(NamedTuple):
    """The shared options as given; None or empty means: not given. Units as in RunOptions."""

    gpu: tuple[GpuRequest, ...] | None
    cpu: float | None
    memory: int | None
    disk: int | None
    cloud: tuple[str, ...]
    region: tuple[str, ...]
    spot: bool | None
    timeout: float | None
    idle: float | None
    keep: bool | None
    detach: bool
    dry_run: bool

    @property
    def market(self) -> str | None:
        """``spot``, ``on-demand`` or None."""
        return None if self.spot is None else "spot" if self.spot else "on-demand"

    def flags(self) -> dict[str, Any]:
        """What was given, under the names of the settings."""
        given = {
            "gpu": self.gpu,
            "cpu": self.cpu,
            "memory": self.memory,
            "disk": self.disk,
            "clouds": self.cloud or None,
            "regions": self.region or None,
            "market": self.market,
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
            clouds=self.cloud,
            regions=self.region,
            market=self.market,
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


def _list(text: str, metavar: str, help: str, panel: str) -> tuple[Any, Any]:
    return list[str] | None, typer.Option(
        None, text, metavar=metavar, help=help, rich_help_panel=panel
    )


_WHERE, _LIFE = "Where it runs", "How long"

_COMMON: dict[str, tuple[Any, Any]] = {
    "gpu": _list("--gpu", "NAME[:COUNT]", "GPU; a comma list or repeats are fallbacks.", _WHERE),
    "cpu": _text("--cpu", "CORES", "CPU cores.", _WHERE),
    "memory": _text("--memory", "SIZE", "Memory: 16GiB, 512MiB or MiB.", _WHERE),
    "disk": _text("--disk", "SIZE", "Disk: 100GiB or MiB.", _WHERE),
    "cloud": _list("--cloud", "NAME", "Use only this cloud; repeatable.", _WHERE),
    "region": _list("--region", "NAME", "Use only this region; repeatable.", _WHERE),
    "spot": flag("--spot/--on-demand", "Use only this market.", _WHERE),
    "timeout": _text("--timeout", "TIME", "Stop each call after: 90, 5m, 2h.", _LIFE),
    "idle": _text("--idle", "TIME", "Keep the instance warm this long afterwards.", _LIFE),
    "keep": flag("--keep/--no-keep", "Keep it warm, or end it at once.", _LIFE),
    "detach": flag("--detach -d", "Go on in the background; print the run's id.", _LIFE, False),
    "dry_run": flag("--dry-run", "Show where it would run; launch nothing.", _WHERE, False),
}
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "gpu": values.gpus,
    "cpu": values.cores,
    "memory": values.size,
    "disk": values.size,
    "cloud": values.names,
    "region": values.names,
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
    taken = {name: given.pop(name) for name in Common._fields}
    for name, parse in _PARSERS.items():
        raw = taken[name]
        if raw not in (None, []):
            taken[name] = parsed("--" + name, parse, raw)
        else:
            taken[name] = () if name in ("cloud", "region") else None
    taken["detach"], taken["dry_run"] = bool(taken["detach"]), bool(taken["dry_run"])
    return Common(**taken)


SHARED = Shared(_COMMON, lambda given: {"common": common(given)})
"""For :func:`byoc.cli.command.command`."""
