"""The instances of this installation, for a command that looks at them or ends them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from ..clock import SYSTEM
from ..errors import InvalidError, NotFoundError
from ..fleet.watch import Row, Watch, open_watch
from ..settings import Settings
from .console import Console
from .view import View


def watched(settings: Settings, console: Console) -> AbstractContextManager[Watch]:
    """The watch over this installation's instances; what it notices is told on stderr."""
    return open_watch(settings, View(console, SYSTEM), os.environ)


def chosen(rows: list[Row], wanted: str) -> Row:
    """The instance of that id, beginning of an id, or run; the only one when ``wanted`` is empty.

    Raises :class:`NotFoundError` or, with several to choose from, :class:`InvalidError`.
    """
    live = [row for row in rows if row.state == "running"]
    found = [row for row in live if wanted in (row.id, row.run)] if wanted else live
    if wanted and not found:
        found = [row for row in live if row.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        what = f"there is no running instance {wanted!r}" if wanted else "no instance is running"
        raise NotFoundError(what, hints=("see 'byoc ps' for the instances",))
    listed = ", ".join(row.id for row in found)
    raise InvalidError("several instances are running", hints=(f"name one of {listed}",))
