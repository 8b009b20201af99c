"""``byoc run``: a function, a local entrypoint or a plain script."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ..command import command
from ..console import Console
from ..options import RUN, Asked, Common


@command(shared=RUN, stops_at_first=True)
def run(
    console: Console,
    ctx: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="FILE[::NAME]", help="What to run; - reads a program on stdin.")
    ],
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
    driver: Annotated[str, typer.Option("--driver", hidden=True)] = "",
) -> int:
    """Run a function, a local entrypoint, or a plain script, on an instance.

    FILE::NAME says which function, FILE::CLASS.METHOD which method; without it the only candidate
    runs. A file without an App runs as it is, remotely, with its folder beside it. What follows
    FILE is the program's (byoc run FILE --help shows what it takes), but for options of byoc's that
    it does not have itself.
    """
    line = tuple(ctx.find_root().obj)
    asked = Asked(reference, module, tuple(args or ()), line, driver, name, write_result)
    # Loaded now, so that a wrong option does not pay for it.
    code: int = _lazy.load("byoc.cli.launch:launch")(console, common, asked)
    return code
