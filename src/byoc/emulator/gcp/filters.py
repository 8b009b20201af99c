"""The ``filter`` of list calls: the part of Google's language that clients use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .refusals import Refusal

_TERM = re.compile(r'\s*([\w.-]+?)\s*(!=|=|:|\beq\b|\bne\b)\s*("[^"]*"|[^\s()"]*)\s*')
_AND, _OR = re.compile(r"\s+AND\s+|(?<=\))\s*(?=\()"), re.compile(r"\s+OR\s+")


def matches(text: str, item: Mapping[str, Any]) -> bool:
    """Whether a resource passes: ``(labels.k = "v") AND (name = a)``, ``name eq byoc-.*``,
    ``(name = a) OR (name = b)``. AND binds looser than OR, as Google's does."""
    return all(
        any(_term(text, one, item) for one in _OR.split(part)) for part in _AND.split(text.strip())
    )


def _term(whole: str, text: str, item: Mapping[str, Any]) -> bool:
    found = _TERM.fullmatch(text.strip().strip("()"))
    if found is None:
        message = f"Invalid value for field 'filter': '{whole}'. Invalid list filter expression."
        raise Refusal(400, "invalid", message)
    name, operator, wanted = found[1], found[2], found[3].strip('"')
    value = _value(name, item)
    if operator == ":":
        return value != "" if wanted == "*" else wanted in value
    if operator in ("eq", "ne"):  # regular expressions, of the whole value
        return bool(re.fullmatch(wanted, value)) is (operator == "eq")
    return (value == wanted) is (operator == "=")


def _value(name: str, item: Mapping[str, Any]) -> str:
    parts = name.split(".", 1) if name.startswith("labels.") else name.split(".")
    current: Any = item
    for part in parts:
        current = current.get(part) if isinstance(current, Mapping) else None
    if isinstance(current, bool):
        return str(current).lower()
    return "" if current is None else str(current)
