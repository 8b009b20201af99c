"""``byoc ps --everywhere``: the instances in every region, of any owner."""

from __future__ import annotations

import os

from ..fleet.audit import open_auditor
from . import context, found, logged
from .console import Console


def show(console: Console) -> int:
    """Print them; the exit code: 0, or 4 when nothing was found and not all could be asked."""
    with logged.told(console), open_auditor(context.merged(), os.environ) as auditor:
        seen = auditor.look()
    items = [item for item in seen.items if item.thing.kind == "instance"]
    code = 0 if items else found.exit_code(False, seen.unasked)
    if console.as_json:
        things = [found.fields(item) for item in items]
        complete = not seen.unasked
        fields = {"things": things, "complete": complete, **found.asked(seen)}
        console.json_object("ps", code, fields)
        return code
    if items:
        console.table(found.HEADER, [found.row(item) for item in items])
    else:
        console.say("no instance is up")
    found.tell_asked(console, seen)
    return code
