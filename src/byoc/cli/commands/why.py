"""``byoc why``: where a run went, every offer that was tried for it, and what was refused."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from ...clock import SYSTEM
from ...resources import Offer
from ...state import Attempt, Journal, Run, Stage
from .. import attempts, context, records
from ..command import command
from ..console import Console

_CONSOLE = 12
"""Lines of a console that are shown: the end, where it says what went wrong."""


class _Place(NamedTuple):
    """An instance that the run held, as the journal last saw it."""

    provider: str
    id: str
    state: str
    offer: Offer
    price: float | None
    started: float
    ended: float
    detail: str


class _Story(NamedTuple):
    """All that the journal knows of one run."""

    run: Run
    attempts: list[Attempt]
    stages: list[Stage]
    instances: list[_Place]


@command(quick=True)
def why(
    console: Console,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id; default: latest.")] = "",
) -> int:
    """Explain where a run went: each offer in the order tried, and what came of it.

    Of each: the cloud's own code, message and request id, until when byoc keeps off it, what byoc
    did next and what you can do.
    """
    with records.opened(context.merged(), console) as journal:
        found = records.chosen_run(journal, run)
        story = _Story(
            found,
            journal.attempts(found.id),
            journal.stages(found.id),
            _instances(journal, found),
        )
    if console.as_json:
        console.json_object("why", 0, story._asdict())
    else:
        _explain(console, story, SYSTEM.wall())
    return 0


def _instances(journal: Journal, run: Run) -> list[_Place]:
    """The instances that the run held and the journal still knows."""
    named = (name.partition("/") for name in run.instances)
    rows = [journal.instance(provider, ident) for provider, _, ident in named]
    return [_Place(*(getattr(row, name) for name in _Place._fields)) for row in rows if row]


def _explain(console: Console, story: _Story, now: float) -> None:
    run = story.run
    console.data(f"{run.id}  {run.kind}  {' '.join(run.command)}")
    ended = f", ended {records.moment(run.ended)}" if run.ended else ""
    code = f" (exit code {run.exit_code})" if run.exit_code else ""
    console.data(f"  {run.status}{code}; started {records.moment(run.started)}{ended}")
    if not story.attempts:
        console.data("  no offer was tried")
    for one in story.attempts:
        for line in _lines(one, now):
            console.data(f"  {line}")
    for row in story.instances:
        detail = f": {row.detail}" if row.detail else ""
        place = f"{row.offer.zone or row.offer.region} {row.offer.type}"
        console.data(f"  ran on {row.provider} {row.id} ({place}), {row.state}{detail}")
    if story.stages:
        console.data("  " + ", ".join(f"{one.name} {one.seconds:.2f} s" for one in story.stages))
    if run.error:
        _tell_error(console, run)


def _tell_error(console: Console, run: Run) -> None:
    error = run.error or {}
    kind = f"{error['type']}: " if error.get("type") else ""
    console.data(f"  error: {kind}{error.get('message', '')}")
    for hint in error.get("remediation") or ():
        if f"byoc why {run.id}" not in hint:  # this is it
            console.data(f"  hint: {hint}")


# --- one attempt --------------------------------------------------------------------------------


def _lines(one: Attempt, now: float) -> list[str]:
    """One attempt: the offer and why it was tried, what came of it, what byoc did next."""
    found = [f"{one.seq}. {one.offer}"]
    told = (one.reason, _outcome(one, now), one.message, *_facts(one, now))
    found += [f"   {text}" for text in told if text]
    if one.console:
        found.append("   the machine printed at last:")
        found += [f"     {line}" for line in one.console.rstrip().splitlines()[-_CONSOLE:]]
    if one.step:
        until = f" (until {records.moment(one.remembered)[-8:]})" if one.remembered else ""
        found.append(f"   next: {one.step}{until}")
    if one.hint:
        found.append(f"   hint: {one.hint}")
    return found


def _outcome(one: Attempt, now: float) -> str:
    words = attempts.OUTCOMES.get(one.outcome, one.outcome)
    if one.instance_id:
        words += f" as {one.instance_id}"
    if one.outcome == "open":
        return f"{words} since {records.span(now - one.at)}"
    if one.seconds:
        words += f" after {one.seconds:.2f} s"
    kind = attempts.CLASSES.get(one.error, one.error)
    code = f" [{one.code}]" if one.code else ""
    return f"{words}: {kind}{code}" if kind else f"{words}{code}"


def _facts(one: Attempt, now: float) -> list[str]:
    """The vendor's request id, and until when byoc keeps off what."""
    found = [f"request {one.request_id}"] if one.request_id else []
    if one.step:  # says it
        return found
    if one.remembered > now:
        left = records.span(one.remembered - now)
        until = records.moment(one.remembered)[-8:]
        found.append(f"not asked again before {until} ({left}): {attempts.scope(one)}")
    elif one.remembered:
        found.append(
            f"was not asked again until {records.moment(one.remembered)}: {attempts.scope(one)}"
        )
    return found
