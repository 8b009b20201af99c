"""Regions and GPUs that were asked for by name: one that nobody sells is refused at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from .. import providers
from ..errors import InvalidError
from ..placement.match import is_gpu
from ..resources import GpuRequest
from ..settings import LOCAL
from . import complete

_LISTED = 20
"""Most names that a hint lists."""


def check(gpus: Iterable[GpuRequest], regions: Iterable[str], clouds: Sequence[str]) -> None:
    """Refuse a region that none of these clouds has, and a GPU that no cloud at all sells. Raises
    :class:`InvalidError`.

    Nothing is refused where this computer may be used, or a cloud that the catalogue lacks: only
    they know what they have.
    """
    if LOCAL in clouds or not all(complete.known_regions([name]) for name in clouds):
        return
    known = complete.known_regions(clouds)
    for name in regions:
        if name not in known:
            what = f"there is no region {name!r} on {', '.join(clouds)}"
            raise InvalidError(what, hints=_near(name, known))
    # A fallback that only another cloud sells does no harm; a misspelt one is never found.
    sold = list(complete.known_gpus(providers.names()))
    for wanted in gpus:
        if not any(is_gpu(wanted, name) for name in sold):
            what = f"no cloud sells a GPU called {wanted.name!r}"
            raise InvalidError(what, hints=_near(wanted.name, sold))


def _near(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """A hint with the name that was probably meant, or with those there are."""
    folded = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), folded, 3, 0.7)
    if close:
        return (f"did you mean {' or '.join(folded[one] for one in close)}?",)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return (f"choose from {', '.join(known[:_LISTED])}{more}",)
