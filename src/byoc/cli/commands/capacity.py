"""``byoc capacity``: where a GPU may be had now, at what price, and what speaks against it."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from .. import complete
from ..command import command
from ..console import Console
from ..options import PLACE, Common, parsed
from ..values import gpus


@command(shared=PLACE)
def capacity(
    console: Console,
    common: Common,
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="[GPU[:N]]",
            help="A comma list are fallbacks; without one: machines without a GPU.",
            autocompletion=complete.gpus,
        ),
    ] = "",
) -> int:
    """Show where a GPU may be had now: zones, prices, what the clouds say, quotas, past refusals.

    The clouds are asked; nothing is rented. Exits with 0 when something may be had, with 1 when
    nothing can.
    """
    asked = parsed("GPU", gpus, [wanted]) if wanted else None
    # Loaded now, so that a wrong option does not pay for it.
    code: int = _lazy.load("byoc.cli.sights:show")(console, common._replace(gpu=asked))
    return code
