"""``byoc emulate``: a command with emulated clouds in place of real accounts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ... import _lazy
from .. import context
from ..command import command
from ..console import Console


@command(stops_at_first=True)
def emulate(
    console: Console,
    cmd: Annotated[list[str], typer.Argument(metavar="CMD...", help="The command and its words.")],
    scenario: Annotated[
        Path | None,
        typer.Option("--scenario", metavar="FILE", help="Faults, quotas, capacity and events."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of everything that is random.")
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a summary there, as JSON."),
    ] = None,
    cloud: Annotated[
        list[str] | None,
        typer.Option("--cloud", metavar="NAME", help="Emulate only this one; repeatable."),
    ] = None,
    egress: Annotated[
        bool, typer.Option("--egress", help="Give machines a way out, by an HTTP proxy.")
    ] = False,
) -> int:
    """Run a command with emulated clouds in place of real accounts; exits with its code.

    byoc emulate -- byoc run hello.py --cloud aws. The accounts live on this computer, instances
    are isolated machines on it, and nothing is rented or billed. Needs root on Linux.
    """
    run = _lazy.load("byoc.emulator.run")  # the emulated clouds take a second to import
    asked = run.Rehearsal(
        command=cmd,
        scenario=scenario,
        seed=seed,
        clouds=cloud or (),
        report=report,
        egress=egress,
        settings_name_clouds=bool(context.merged().clouds),
    )
    told: list[Mapping[str, Any]] = []
    code: int = run.rehearse(asked, os.environ, told.append)
    _summarize(console, told[0])
    if console.as_json:
        console.json_object("emulate", code, {"report": told[0]})
    return code


def _summarize(console: Console, told: Mapping[str, Any]) -> None:
    """A few lines for people, on stderr."""
    calls = sum(sum(by_op.values()) for by_op in told["calls"].values())
    console.say(
        f"emulated: {_instances(told['booted'])} booted, {told['billed_seconds']:.1f} s billed, "
        f"${told['dollars']:.2g}; {calls} requests, {len(told['refused'])} of them refused"
    )
    if told["alive"]:
        console.say(f"still alive at the end: {', '.join(told['alive'])}")
    if told["leftovers"]:
        names = ", ".join(f"{one['kind']} {one['id']}" for one in told["leftovers"])
        console.say(f"left behind: {names}")
    for event in told["events_missed"]:
        console.say(f"an event met no instance: {event['action']} ({event['cloud']})")
    for problem in told["problems"]:
        console.say(f"the emulator failed at: {problem}")


def _instances(number: int) -> str:
    return f"{number} instance{'' if number == 1 else 's'}"
