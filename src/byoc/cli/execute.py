"""What ``byoc exec`` does: run a command in a session, in a copy of the working folder."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import InvalidError
from ..resources import Resources
from . import context, drive, drivers, ladders, names, values
from .console import Console
from .options import Command, Common, parsed

if TYPE_CHECKING:
    from ..engine.command import Commands


def execute(console: Console, common: Common, asked: Command) -> int:
    """Run the command. Returns its exit code."""
    folder = context.here()
    settings = context.merged(common.flags())
    names.check(common.gpu or (), common.region, settings.used_clouds())
    variables = parsed("--env", lambda texts: values.environment(texts, os.environ), asked.env)
    below = parsed("--cwd", _below, asked.cwd)
    patterns = [parsed("--artifacts", _below, pattern) for pattern in asked.artifacts]
    if common.detach and not asked.driver and not common.dry_run:
        return drivers.detach(console, settings, asked.line, "exec")

    def work(session: Commands) -> tuple[int, Any]:
        code = session.command(
            asked.words,
            folder,
            environ=variables,
            artifacts=patterns,
            cwd=below,
            stdin=context.program_input(),
        )
        return code, None

    ask = ladders.Ask(asked.words[0], Resources())
    typed = ("byoc", "exec", "--", *asked.words)
    job = drive.Job("exec", "exec", asked.words[0], typed, work, (ask,))
    return drive.drive(console, settings, common, job, asked.driver)


def _below(text: str) -> str:
    """A path inside the copied folder, as it is written there."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise InvalidError(
            f"{text!r} is not inside the copied folder", hints=("name it relative to this folder",)
        )
    return text
