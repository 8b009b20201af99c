"""Why nothing fits: one error with the whole explanation, and what can be done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import PlacementError
from ..resources import Resources, Rung
from ..settings import LOCAL
from .cost import span
from .match import gpu_rank

_FIGURE = re.compile(r"[0-9.]+")
_SHOWN = 8
"""Most kinds of refusal that an error lists; a dry run shows all of them."""

_WITHOUT_GPU = "ask for no GPU: where gpu= in the program, --gpu or the setting gpu names one"


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
    lines = _by_reason(resources, refused)
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
        hints.append(f"ask for the GPU that is here: {here}" if here else _WITHOUT_GPU)
    else:
        hints.append("ask for less")
    if not standing.known:
        hints.append("or run byoc on a computer that has it: this version rents from no cloud yet")
    return tuple(hints)


def _by_reason(resources: Resources, refused: Sequence[Rung]) -> list[str]:
    """``cloud/region/zone/type/spot and 3 more: costs $5 an hour, allowed: $4``: the refusals by
    kind, each with the offer that came nearest."""
    asked = " or ".join(str(one) for one in resources.gpus)
    lacking = f"has no {asked} (" if asked else ""
    groups: dict[str, list[Rung]] = {}
    for rung in refused:
        other = lacking and rung.reason.startswith(lacking)
        groups.setdefault(lacking if other else _FIGURE.sub("#", rung.reason), []).append(rung)
    lines = []
    # the fewest first: what almost fitted says more than the thousands of another kind
    ordered = sorted(groups.items(), key=lambda group: len(group[1]))
    for kind, rungs in ordered[:_SHOWN]:
        more = f" and {len(rungs) - 1} more" if len(rungs) > 1 else ""
        nearest = _nearest(rungs)
        text = nearest.reason
        if kind == lacking and len({rung.reason for rung in rungs}) > 1:
            held = sorted({rung.offer.gpu for rung in rungs if rung.offer.gpu})
            text = f"{lacking}there are {', '.join(held)})"
        lines.append(f"{nearest.offer.key()}{more}: {text}")
    if len(groups) > _SHOWN:
        lines.append(f"and {len(groups) - _SHOWN} other kinds of refusal")
    return lines


def _nearest(rungs: Sequence[Rung]) -> Rung:
    """Of offers that were refused for the same, the one that came nearest."""
    reason = rungs[0].reason
    if reason.startswith("costs "):
        return min(rungs, key=lambda rung: rung.offer.price or 0.0)
    if " CPUs, " in reason:
        return max(rungs, key=lambda rung: rung.offer.cpus)
    if " of memory, " in reason:
        return max(rungs, key=lambda rung: rung.offer.memory)
    return max(rungs, key=lambda rung: rung.offer.gpu_count)
