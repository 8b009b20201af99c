"""``byoc plan``: where a run would go and at what price, as a document to approve."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ..command import command
from ..console import Console
from ..options import PLAN, Asked, Common, parsed
from ..values import count, duration

VALID = "15m"
"""How long a plan holds unless told otherwise: spot prices and free capacity seldom hold longer."""


@command(shared=PLAN, stops_at_first=True)
def plan(
    console: Console,
    reference: Annotated[str, typer.Argument(metavar="FILE[::NAME]", help="What would be run.")],
    common: Common,
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Arguments of the program.")
    ] = None,
    module: Annotated[
        bool, typer.Option("--module", "-m", help="FILE is a module's dotted name.")
    ] = False,
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="NAME", help="What to call the run.")
    ] = "",
    write_result: Annotated[
        str,
        typer.Option(
            "--write-result", "-w", metavar="FILE", help="Write the function's text or bytes there."
        ),
    ] = "",
    valid: Annotated[
        str, typer.Option("--valid", metavar="TIME", help="Until when it may be applied.")
    ] = VALID,
    top: Annotated[
        str, typer.Option("--top", metavar="N", help="Approve so many offers of each ladder.")
    ] = "10",
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="Write the plan there.")
    ] = "",
) -> int:
    """Make a plan of a run: its offers in order, their prices, the most it may cost an hour.

    Nothing is rented. byoc apply runs the plan while it is valid, the program is the same and no
    approved offer has become dearer than the dearest of them.
    """
    seconds = parsed("--valid", duration, valid)
    rungs = parsed("--top", count, top)
    asked = Asked(reference, module, tuple(args or ()), (), "", name, write_result)
    # Loaded now, so that a wrong option does not pay for it.
    make = _lazy.load("byoc.cli.planning:make")
    code: int = make(console, common, asked, seconds, rungs, out)
    return code
