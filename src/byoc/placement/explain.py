"""Why nothing fits: one error with the whole explanation, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import PlacementError
from ..resources import Offer, Resources, Rung
from ..settings import LOCAL
from .cost import span
from .match import gpu_rank

_SHOWN = 8
"""Most kinds of refusal that an error lists; a dry run shows all of them."""


class Standing(NamedTuple):
    """What an explanation needs besides the refusals.

    ``configured``, ``known``: of the snapshot. ``wait``: seconds until the first remembered refusal
    ends, 0 when none is in the way. ``bucket``: a quota that is too small, empty when none is.
    """

    configured: bool
    known: tuple[str, ...]
    wait: float = 0.0
    bucket: str = ""


def nothing(resources: Resources, refused: Sequence[Rung], standing: Standing) -> PlacementError:
    """The error for a ladder without a rung."""
    only_local = not standing.configured and all(r.offer.cloud == LOCAL for r in refused)
    if only_local and refused:
        reasons = "; it ".join(dict.fromkeys(r.reason for r in refused))
        message = (
            f"this computer {reasons}, and it is the only choice because no cloud is configured"
        )
        return PlacementError(message, hints=_local_hints(resources, standing, refused))
    if not refused:
        names = ", ".join(resources.clouds) or "the configured clouds"
        return PlacementError(
            f"nothing is offered by {names}", hints=("see `byoc check` for what is wrong there",)
        )
    lines = _by_reason(refused)
    return PlacementError(
        f"no offer can hold {resources.describe()}: {'; '.join(lines)}", hints=_hints(standing)
    )


def _hints(standing: Standing) -> tuple[str, ...]:
    hints = []
    if standing.wait:
        hints.append(f"wait {span(standing.wait)}: what was refused is asked for again then")
    if standing.bucket:
        hints.append(f"have the quota {standing.bucket} raised, or end what uses it")
    hints.append("ask for less, or allow more clouds, regions, markets or a higher price")
    return tuple(hints)


def _local_hints(
    resources: Resources, standing: Standing, refused: Sequence[Rung]
) -> tuple[str, ...]:
    hints = []
    if standing.known:
        hints.append(f'configure a cloud: clouds = ["{standing.known[0]}"] in byoc.toml')
    if resources.gpus and all(gpu_rank(resources, r.offer) is None for r in refused):
        here = next((r.offer.gpu for r in refused if r.offer.gpu_count), "")
        hints.append(f'ask for what is here (gpu="{here}")' if here else "drop gpu=")
    else:
        hints.append("ask for less")
    if not standing.known:
        hints.append("or run byoc on a computer that has it: this version rents from no cloud yet")
    return tuple(hints)


def _by_reason(refused: Sequence[Rung]) -> list[str]:
    """``cloud/region/zone/type/spot and 3 more: has no GPU``: the refusals, grouped."""
    groups: dict[str, list[Offer]] = {}
    for rung in refused:
        groups.setdefault(rung.reason, []).append(rung.offer)
    lines = []
    # the fewest first: what almost fitted says more than the thousands of another kind
    ordered = sorted(groups.items(), key=lambda group: len(group[1]))
    for reason, offers in ordered[:_SHOWN]:
        more = f" and {len(offers) - 1} more" if len(offers) > 1 else ""
        lines.append(f"{offers[0].key()}{more}: {reason}")
    if len(groups) > _SHOWN:
        lines.append(f"and {len(groups) - _SHOWN} other kinds of refusal")
    return lines
