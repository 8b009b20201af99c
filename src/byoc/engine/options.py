"""What one run was asked to do, after settings and flags are merged."""

from __future__ import annotations

from typing import NamedTuple

from ..resources import GpuRequest, Resources


class Approved(NamedTuple):
    """What may be rented for one request, as a plan says: ``only`` the offers of these keys, in
    this order, at most at ``max_price`` dollars an hour. ``resources``: the request as
    :meth:`~byoc.engine.base.Base.merged` makes it."""

    resources: Resources
    only: tuple[str, ...]
    max_price: float


class RunOptions(NamedTuple):
    """Options of one run; None means: not given, take the function's own or the settings'.

    ``gpu``/``cpu``/``memory``/``disk`` override what functions declare, and so does ``max_price``,
    in dollars an hour. ``exclude``: patterns of offers that are not taken either, as in
    :class:`~byoc.resources.Resources`. ``idle``: seconds the instance stays warm afterwards.
    ``keep``: False ends it at once. ``timeout``: seconds, overrides the functions' own.
    ``command``: what the user typed, for the journal. ``log``: where the run's output is kept.
    ``detached``: it goes on without the command that started it. ``approved``: by request, what may
    be rented and nothing else; None is no such limit. ``nodes``: instances that a command or plain
    program runs on side by side; of functions, for those that were declared with several.
    """

    gpu: tuple[GpuRequest, ...] | None = None
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    clouds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    market: str | None = None
    max_price: float | None = None
    exclude: tuple[str, ...] = ()
    timeout: float | None = None
    idle: float | None = None
    keep: bool = True
    name: str = ""
    command: tuple[str, ...] = ()
    log: str = ""
    detached: bool = False
    approved: tuple[Approved, ...] | None = None
    nodes: int | None = None
