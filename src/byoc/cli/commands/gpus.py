"""``byoc gpus``: what each GPU costs where."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ...resources import MAX_GPUS
from .. import complete, values
from ..command import command
from ..console import Console
from ..options import parsed


@command()
def gpus(
    console: Console,
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="[GPU[:N]]",
            help="Show every offer of this one; without it: the best of each GPU.",
            autocompletion=complete.gpus,
        ),
    ] = "",
    count: Annotated[
        int | None, typer.Option(min=1, max=MAX_GPUS, help="How many of them in one host.")
    ] = None,
    cloud: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this cloud.", autocompletion=complete.clouds),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this region.", autocompletion=complete.regions),
    ] = None,
    spot: Annotated[
        bool | None, typer.Option("--spot/--on-demand", help="Only this market.")
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="price|name|memory", help="Order; of equals the cheaper first.")
    ] = "",
    every: Annotated[bool, typer.Option("--all", "-a", help="Show every offer.")] = False,
) -> int:
    """Show what GPUs cost, per hour and per GPU, where, and what Modal asks for the same.

    Nothing is asked of a cloud: prices are the catalogue's, with their age, and what this computer
    last met there is told besides. For what may be had now, ask `byoc capacity`.
    """
    gpu = parsed("GPU", values.gpus, [wanted]) if wanted else ()
    asked = _lazy.load("byoc.cli.gpulist:Asked")(
        gpus=gpu,
        number=count or 0,
        clouds=parsed("--cloud", values.clouds, cloud) if cloud else (),
        regions=parsed("--region", values.names, region) if region else (),
        market="" if spot is None else "spot" if spot else "on-demand",
        sort=sort,
        every=every,
    )
    code: int = _lazy.load("byoc.cli.gpulist:show")(console, asked)
    return code
