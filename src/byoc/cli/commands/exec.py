"""``byoc exec``: a command on an instance, in a copy of the working folder."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import InvalidError
from ...resources import Resources
from .. import context, drive, drivers, values
from ..command import command
from ..console import Console
from ..options import SHARED, Common, parsed

if TYPE_CHECKING:
    from ...engine.command import Commands


@command(shared=SHARED, stops_at_first=True)
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
    folder = context.here()
    settings = context.merged(common.flags())
    variables = parsed("--env", lambda texts: values.environment(texts, os.environ), env or [])
    below = parsed("--cwd", _below, cwd)
    patterns = [parsed("--artifacts", _below, pattern) for pattern in artifacts or ()]
    if common.detach and not driver and not common.dry_run:
        return drivers.detach(console, settings, ctx.find_root().obj, "exec")

    def work(session: Commands) -> tuple[int, Any]:
        code = session.command(
            cmd,
            folder,
            environ=variables,
            artifacts=patterns,
            cwd=below,
            stdin=context.program_input(),
        )
        return code, None

    typed = ("byoc", "exec", "--", *cmd)
    job = drive.Job("exec", "exec", cmd[0], typed, work, ((cmd[0], Resources()),))
    return drive.drive(console, settings, common, job, driver)


def _below(text: str) -> str:
    """A path inside the copied folder, as it is written there."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise InvalidError(
            f"{text!r} is not inside the copied folder", hints=("name it relative to this folder",)
        )
    return text
