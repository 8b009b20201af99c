"""Pages of lists, of one zone and of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import filters
from .calls import Call
from .operations import ROOT
from .refusals import Refusal

PAGE = 500
"""Items of a page where the request asks for no number; Google's figure."""
UNREACHABLE = "unreachable"
"""Scenario's error for an aggregated list: one zone, the fault's message, is missing from it."""
Pair = tuple[str, dict[str, Any]]


def single(call: Call, kind: str, items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One page of a plain list. ``kind``: such as ``compute#instanceList``."""
    pairs, following = _page(call, [("", item) for item in items])
    found = _frame(call, kind, following)
    return {**found, "items": [item for _, item in pairs]}


def aggregated(
    call: Call, kind: str, key: str, items: Iterable[Pair], scopes: Iterable[str]
) -> dict[str, Any]:
    """One page of a list over all ``scopes`` (``zones/Z``). ``items``: with the scope of each."""
    everything = list(items)
    lost = _lost(call, everything)
    pairs, following = _page(call, [pair for pair in everything if pair[0] != lost])
    grouped: dict[str, Any] = {}
    for scope, item in pairs:
        grouped.setdefault(scope, {key: []})[key].append(item)
    if not call.asked("pageToken"):
        for scope in scopes:
            grouped.setdefault(scope, _warning("NO_RESULTS_ON_PAGE", f"No results in {scope}."))
    found = {**_frame(call, kind, following), "items": grouped}
    if lost:
        grouped[lost] = _warning("UNREACHABLE", f"{lost} could not be reached.")
        found["unreachables"] = [f"projects/{call.path['project']}/{lost}"]
    return found


def _page(call: Call, pairs: list[Pair]) -> tuple[list[Pair], str]:
    text = call.asked("filter")
    found = [pair for pair in pairs if not text or filters.matches(text, pair[1])]
    token, size = call.asked("pageToken"), int(call.asked("maxResults") or PAGE)
    if token and not token.isdigit():
        raise Refusal(400, "invalid", f"Invalid value for field 'pageToken': '{token}'.")
    if not 0 <= size <= PAGE:
        raise Refusal(400, "invalid", f"Invalid value for field 'maxResults': '{size}'.")
    start, end = int(token or 0), int(token or 0) + (size or PAGE)
    return found[start:end], str(end) if end < len(found) else ""


def _frame(call: Call, kind: str, following: str) -> dict[str, Any]:
    path = "/".join(call.path.values())
    frame = {"kind": kind, "id": path, "selfLink": f"{ROOT}/projects/{path}"}
    return {**frame, "nextPageToken": following} if following else frame


def _lost(call: Call, pairs: list[Pair]) -> str:
    if call.fault is None or call.fault.error != UNREACHABLE:
        return ""
    named = call.fault.message
    return f"zones/{named}" if named else next((scope for scope, _ in pairs), "zones/us-central1-a")


def _warning(code: str, message: str) -> dict[str, Any]:
    return {"warning": {"code": code, "message": message}}
