"""What ``byoc plan`` does: survey, approve the best rungs, show and keep the document."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..clock import SYSTEM
from ..errors import InvalidError
from ..resources import Ladder
from ..sdk import load
from . import context, drive, ladders, launch, names, plans, records
from .console import Console
from .options import Asked, Common

if TYPE_CHECKING:
    from .ladders import Asking


def make(console: Console, common: Common, typed: Asked, valid: float, top: int, out: str) -> int:
    """Make the plan of what was typed. ``out``: the file that it goes to, if any."""
    if load.parse_reference(typed.reference, module=typed.module).kind == load.STDIN:
        raise InvalidError(
            "a program on standard input cannot be planned", hints=("save it in a file",)
        )
    opened = launch.open_program(typed)
    common, typed = launch.lifted(console, common, typed, opened)
    settings = context.merged(common.flags())
    names.check(common.gpu or (), common.region, settings.used_clouds())
    job = launch.prepare(console, opened, typed)
    contents = job.contents()
    asks = drive.requests(console, settings, common, job)
    found = ladders.survey(console, settings, asks)
    line, here = spelled(common, typed), str(context.here())
    plan = plans.make(line, here, contents, found, plans.Terms(top, valid), SYSTEM)
    document = plan.document()
    if out:
        _write(Path(out), json.dumps(document, indent=1) + "\n")
    if console.as_json:
        console.json_object("plan", 0, document)
        return 0
    _show(console, plan, found, top)
    console.data(f"{document['id']}: valid until {records.moment(plan.expires)}")
    if out:
        console.say(f"run it with: byoc apply {out}")
    else:
        console.say("add --out FILE to keep it, then: byoc apply FILE")
    return 0


def spelled(common: Common, typed: Asked) -> tuple[str, ...]:
    """The words after ``byoc`` that run the same."""
    named = [] if not typed.name else ["--name", typed.name]
    result = [] if not typed.result else ["--write-result", typed.result]
    module = ["--module"] if typed.module else []
    return ("run", *common.words, *named, *result, *module, typed.reference, *typed.args)


def _show(console: Console, plan: plans.Plan, found: list[Asking], top: int) -> None:
    console.data(f"byoc {' '.join(plan.line)}")
    approved = [one._replace(ladder=Ladder(plans.approved(one, top))) for one in found]
    ladders.show(console, approved, None)
    left = sum(len(one.ladder.rungs) for one in found) - sum(len(f.offers) for f in plan.functions)
    if left:
        console.data(f"not approved: {left} more (--top N approves N of each)")
    console.data(f"at most {ladders.price(plan.price_ceiling)} for each instance")
    files = "1 file" if plan.files == 1 else f"{plan.files} files"
    console.data(f"program: {files}, {plan.digest[:19]}")


def _write(path: Path, text: str) -> None:
    """Private: a command line may hold what others should not see."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InvalidError(f"--out: {path} cannot be written: {error.strerror}") from None
