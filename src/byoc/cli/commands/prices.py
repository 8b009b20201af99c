"""``byoc prices``: how old the prices are that byoc goes by, and newer ones from the clouds."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from .. import complete
from ..command import command
from ..console import Console
from ..options import parsed
from ..values import clouds


@command()
def prices(
    console: Console,
    what: Annotated[
        str, typer.Argument(metavar="[status|refresh]", help="status when left out.")
    ] = "status",
    cloud: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this cloud; repeatable.", autocompletion=complete.clouds
        ),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take prices that rose or fell threefold as well.")
    ] = False,
) -> int:
    """Show how old the prices are that byoc goes by, or ask the clouds for today's.

    `byoc prices refresh` reads the clouds' own price lists into the data folder; nothing is
    replaced when a list is not whole. Exits with 4 when a cloud could not be asked.
    """
    chosen = parsed("--cloud", clouds, cloud) if cloud else ()
    # Loaded now: the clouds' price lists are of no interest to completion and help.
    code: int = _lazy.load("byoc.cli.pricelist:run")(console, what, chosen, accept)
    return code
