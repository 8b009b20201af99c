"""What one run was asked to do, after settings and flags are merged."""

from __future__ import annotations

from typing import NamedTuple

from ..resources import GpuRequest


class RunOptions(NamedTuple):
    """Options of one run; None means: not given, take the function's own or the settings'.

    ``gpu``/``cpu``/``memory``/``disk`` override what functions declare. ``idle``: seconds the
    instance stays warm afterwards. ``keep``: False ends it at once. ``timeout``: seconds, overrides
    the functions' own. ``command``: what the user typed, for the journal. ``log``: where the
    run's output is kept. ``detached``: it goes on without the command that started it.
    """

    gpu: tuple[GpuRequest, ...] | None = None
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    clouds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    market: str | None = None
    timeout: float | None = None
    idle: float | None = None
    keep: bool = True
    name: str = ""
    command: tuple[str, ...] = ()
    log: str = ""
    detached: bool = False
