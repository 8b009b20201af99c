"""``byoc check``: can the configured clouds be used now, and what is in the way."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ...clock import SYSTEM
from ...errors import NotFoundError
from ...fleet.registry import registry
from ...providers.base import Finding
from .. import context, failure
from ..command import command
from ..console import Console


@command()
def check(
    console: Console,
    cloud: Annotated[
        list[str] | None, typer.Argument(metavar="[CLOUD]...", help="Default: the configured.")
    ] = None,
) -> int:
    """Check that clouds can be used: access, permissions, network, and what isolates runs.

    Exits with 4 when something fails that keeps a cloud from being used.
    """
    settings = context.merged()
    known = registry(settings, os.environ, SYSTEM)
    findings: dict[str, list[Finding]] = {}
    for name in cloud or settings.used_clouds():
        if name not in known:
            raise NotFoundError(
                f"there is no cloud {name!r} in this version of byoc",
                hints=(f"choose from {', '.join(sorted(known))}",),
            )
        findings[name] = known[name].check()
    failed = any(one.level == "fail" for found in findings.values() for one in found)
    code = failure.INSTANCE if failed else 0
    if console.as_json:
        console.json_object("check", code, {"clouds": findings})
    else:
        for name, found in findings.items():
            for one in found:
                about = name if one.subject == name else f"{name}: {one.subject}"
                console.data(f"{one.level:<4}  {about}: {one.message}")
                if one.remedy:
                    console.data(f"      hint: {one.remedy}")
    return code
