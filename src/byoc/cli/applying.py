"""What ``byoc apply`` does: check all that a plan promises, then run exactly that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..clock import SYSTEM
from ..engine.options import Approved
from ..errors import InvalidError
from . import context, drive, drivers, group, ladders, launch, plans
from .console import Console
from .options import RUN, Asked, Common


def apply(
    console: Console,
    path: str,
    line: Sequence[str],
    driver: str,
    *,
    dry_run: bool,
    detach: bool,
) -> int:
    """Run a plan. ``line``: the whole command line; ``driver``: see :class:`.drivers.Driver`."""
    name = "standard input" if path == "-" else path
    plan, document = plans.parse(_read(path, detach), name)
    plans.check_valid(plan, document, SYSTEM)
    common, typed = _typed(plan)
    settings = context.merged(common.flags())._replace(hedge=plan.hedge)
    job = launch.prepare(console, launch.open_program(typed), typed)
    job = job._replace(command="apply", about={"plan": document["id"]})
    plans.check_program(plan, job.contents())
    asks = drive.requests(console, settings, common, job)
    plans.check_requests(plan, asks)
    only = {part.name: [one.offer for one in part.offers] for part in plan.functions}
    found = ladders.survey(console, settings, asks, only)
    plans.check_prices(plan, found)
    if dry_run:
        return _would(console, plan, document["id"], found)
    if detach and not driver:
        return drivers.detach(console, settings, line, "apply")
    console.say(f"{document['id']}: byoc {' '.join(plan.line)}")
    return drive.drive(console, settings, common, job, driver, _approved(plan, found))


def _read(path: str, detach: bool) -> bytes:
    if path == "-" and detach:
        raise InvalidError(
            "a plan on standard input cannot go on in the background",
            hints=("save it in a file, or leave out --detach",),
        )
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
            data = file.read(plans.MOST_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"the plan {path} cannot be read: {error.strerror}") from None
    if len(data) > plans.MOST_BYTES:
        raise InvalidError(f"{path} is larger than any plan")
    return data


def _typed(plan: plans.Plan) -> tuple[Common, Asked]:
    """The plan's command line, parsed as if it had been typed."""
    word, *words = plan.line
    if word != "run":
        raise InvalidError(f"a plan of 'byoc {word}' cannot be applied")
    given = dict(group.load("run").make_context("byoc run", words).params)
    common: Common = RUN.collect(given)["common"]
    asked = Asked(
        given["reference"],
        bool(given["module"]),
        tuple(given["args"] or ()),
        (),
        "",
        given["name"],
        given["write_result"],
    )
    return common, asked


def _approved(plan: plans.Plan, found: Sequence[ladders.Asking]) -> tuple[Approved, ...]:
    """What may be rented for each request."""
    return tuple(
        Approved(asking.resources, tuple(one.offer for one in part.offers), part.price_ceiling)
        for part, asking in zip(plan.functions, found, strict=True)
    )


def _would(console: Console, plan: plans.Plan, name: str, found: Sequence[ladders.Asking]) -> int:
    kept = [one._replace(ladder=one.ladder._replace(refused=())) for one in found]
    if console.as_json:
        fields = {"plan": name, "dry_run": True, "line": plan.line}
        console.json_object("apply", 0, {**fields, "functions": ladders.as_data(kept)})
        return 0
    console.data(f"byoc {' '.join(plan.line)}")
    ladders.show(console, kept, None)
    console.data(f"{name} can be applied")
    return 0
