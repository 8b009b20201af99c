"""``byoc check``: can the clouds in use be used now, and what is in the way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated

import typer

from ...clock import SYSTEM
from ...errors import Error
from ...fleet.dial import SshDialer
from ...fleet.registry import Registry, registry
from ...fleet.ways import Ways
from ...providers.base import Finding
from ...settings import LOCAL, Settings
from ...tasks import side_by_side
from .. import complete, context, failure, logged
from ..command import command
from ..console import Console
from ..options import parsed
from ..values import clouds


@command()
def check(
    console: Console,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLOUD]...", help="Default: the configured.", autocompletion=complete.clouds
        ),
    ] = None,
    cloud: Annotated[
        list[str] | None,
        typer.Option(
            "--cloud",
            metavar="NAME",
            help="The same, as an option; repeatable.",
            autocompletion=complete.clouds,
        ),
    ] = None,
) -> int:
    """Check that clouds can be used: access, permissions, network, clock, and what isolates runs.

    All of them are asked side by side. Exits with 1 when something fails that keeps a cloud from
    being used; each finding that is not ok says what to do.
    """
    settings = context.merged()
    asked = [*(names or ()), *(cloud or ())]
    chosen = list(dict.fromkeys(parsed("--cloud", clouds, asked) if asked else ()))
    wanted = chosen or list(settings.used_clouds())
    known = registry(settings, os.environ, SYSTEM)
    others = [] if chosen or settings.clouds else [name for name in known if name != LOCAL]
    with logged.told(console):
        findings = _all(known, wanted, settings)
    failed = any(one.level == "fail" for found in findings.values() for one in found)
    code = failure.NO if failed else 0
    if console.as_json:
        console.json_object("check", code, {"clouds": findings, "not_configured": others})
        return code
    for name, found in findings.items():
        _show(console, name, found)
    if others:
        _tell_others(console, others)
    return code


def _all(known: Registry, names: Sequence[str], settings: Settings) -> dict[str, list[Finding]]:
    """The findings of each cloud; one that cannot even be asked fails."""
    works = [partial(_one, known, name, settings) for name in names]
    return dict(zip(names, side_by_side(works, len(names)), strict=True))


def _one(known: Registry, name: str, settings: Settings) -> list[Finding]:
    try:
        found = known[name].check()
    except Error as error:
        found = [_failed(name, error, f"see docs/{name}.md")]
    return [*found, *_way(name, settings)]


def _failed(subject: str, error: Error, remedy: str) -> Finding:
    return Finding("fail", subject, error.message, error.hints[0] if error.hints else remedy)


def _way(name: str, settings: Settings) -> list[Finding]:
    """Can its machines be reached, where that is not by their public addresses?"""
    ways = Ways(settings)
    try:
        way = ways(name)
    except Error as error:
        return [_failed("way in", error, "see docs/network.md")]
    found = []
    if way.jump is not None:
        dialer = SshDialer(settings.home, SYSTEM, ways)
        try:
            dialer.ready(name)
            found.append(Finding("ok", "way in", f"the jump host {way.jump} lets byoc in"))
        except Error as error:
            found.append(_failed("way in", error, "see docs/network.md"))
        finally:
            dialer.close()
    if not way.public:
        message = "instances have no public address: they reach package indexes by a NAT, if any"
        found.append(Finding("warn", "way out", message, "See docs/network.md for a NAT."))
    return found


def _show(console: Console, name: str, found: Iterable[Finding]) -> None:
    for one in found:
        about = name if one.subject == name else f"{name}: {one.subject}"
        console.data(f"{one.level:<4}  {about}: {one.message}")
        if one.remedy:
            console.data(f"      hint: {one.remedy}")


def _tell_others(console: Console, others: Sequence[str]) -> None:
    """What could be configured, where nothing is."""
    first = others[0]
    console.data(f"      no cloud is configured; this byoc can use {', '.join(others)}")
    console.data(f"      hint: byoc check {first} says what {first} lacks; then put")
    console.data(f'            clouds = ["{first}"] into byoc.toml, or run with --cloud {first}')
