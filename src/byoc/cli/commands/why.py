"""``byoc why``: where a run went, every offer that was tried for it, and what was refused."""

from __future__ import annotations

from typing import Annotated

import typer

from ...state import Attempt, Run, Stage
from .. import context, records
from ..command import command
from ..console import Console

_WORDS = {
    "open": "being tried",
    "warm": "taken, warm",
    "ok": "taken",
    "refused": "refused",
    "failed": "failed",
    "unknown": "outcome unknown",
}


@command(quick=True)
def why(
    console: Console,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id; default: latest.")] = "",
) -> int:
    """Explain where a run went: each offer in the order tried, and what came of it."""
    with records.opened(context.merged(), console) as journal:
        found = records.chosen_run(journal, run)
        attempts, stages = journal.attempts(found.id), journal.stages(found.id)
    if console.as_json:
        console.json_object("why", 0, {"run": found, "attempts": attempts, "stages": stages})
    else:
        _explain(console, found, attempts, stages)
    return 0


def _explain(console: Console, run: Run, attempts: list[Attempt], stages: list[Stage]) -> None:
    console.data(f"{run.id}  {run.kind}  {' '.join(run.command)}")
    ended = f", ended {records.moment(run.ended)}" if run.ended else ""
    code = f" (exit code {run.exit_code})" if run.exit_code else ""
    console.data(f"  {run.status}{code}; started {records.moment(run.started)}{ended}")
    if not attempts:
        console.data("  no offer was tried")
    for one in attempts:
        console.data(f"  {one.seq}. {one.offer}: {_words(one)}")
        if one.hint:
            console.data(f"     hint: {one.hint}")
    if stages:
        console.data("  " + ", ".join(f"{one.name} {one.seconds:.2f} s" for one in stages))
    if run.error:
        kind = f"{run.error['type']}: " if run.error.get("type") else ""
        console.data(f"  error: {kind}{run.error.get('message', '')}")


def _words(one: Attempt) -> str:
    words = _WORDS.get(one.outcome, one.outcome)
    if one.instance_id:
        words += f" as {one.instance_id}"
    if one.message:
        code = f" [{one.code}]" if one.code else ""
        request = f" (request {one.request_id})" if one.request_id else ""
        words += f": {one.message}{code}{request}"
    return f"{words} after {one.seconds:.2f} s" if one.seconds else words
