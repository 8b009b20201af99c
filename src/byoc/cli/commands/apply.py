"""``byoc apply``: run what a plan approved, and nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ..command import command
from ..console import Console


@command()
def apply(
    console: Console,
    ctx: typer.Context,
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="A file of byoc plan; - reads it on stdin.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check whether it would be run.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on in the background; print the run's id.")
    ] = False,
    driver: Annotated[str, typer.Option("--driver", hidden=True)] = "",
) -> int:
    """Run what a plan approved: its program, on its offers in their order, at most at its price.

    Refused before anything is rented: a plan that has expired (2), that was changed or is none (2),
    a program or a request that is not the planned one (2), prices above the approved (6), offers
    of which none can be had (3).
    """
    line = tuple(ctx.find_root().obj)
    # Loaded now, so that a wrong option does not pay for it.
    code: int = _lazy.load("byoc.cli.applying:apply")(
        console, plan, line, driver, dry_run=dry_run, detach=detach
    )
    return code
