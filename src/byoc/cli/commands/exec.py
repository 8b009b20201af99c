"""``byoc exec``: a command on an instance, in a copy of the working folder."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ..command import command
from ..console import Console
from ..options import RUN, Command, Common


@command(shared=RUN, stops_at_first=True)
def exec_(
    console: Console,
    ctx: typer.Context,
    cmd: Annotated[list[str], typer.Argument(metavar="CMD...", help="The command and its words.")],
    common: Common,
    artifacts: Annotated[
        list[str] | None,
        typer.Option("--artifacts", metavar="PATTERN", help="Fetch these files back; repeatable."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="K[=V]", help="Set a variable, or pass yours on."),
    ] = None,
    cwd: Annotated[
        str, typer.Option("--cwd", metavar="DIR", help="Run in this folder of the copy.")
    ] = "",
    driver: Annotated[str, typer.Option("--driver", hidden=True)] = "",
) -> int:
    """Run a command on an instance, in a copy of this folder; exits with its code.

    byoc exec -- make test. Files that match --artifacts are fetched back when it ends.
    """
    line = tuple(ctx.find_root().obj)
    asked = Command(cmd, artifacts or [], env or [], cwd, line, driver)
    # Loaded now, so that a wrong option does not pay for it.
    code: int = _lazy.load("byoc.cli.execute:execute")(console, common, asked)
    return code
