"""AWS's own judgement of a policy: does a document allow an action on a resource, and why not.

As much of IAM's language as byoc's policies and their like use; anything else in a policy is told
when it is read, so that nothing is silently taken for allowed or denied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import SettingsError

Context = Mapping[str, tuple[str, ...]]
"""Condition keys in lower case -> the values that a request has for them."""
_KEYS = {"Version", "Id", "Statement"}
_PARTS = {"Sid", "Effect", "Action", "Resource", "Condition"}


class Asked(NamedTuple):
    """One question: may ``action`` (``ec2:RunInstances``) be done to ``resource``, an ARN or
    ``*``."""

    action: str
    resource: str
    context: Context = MappingProxyType({})


class _Statement(NamedTuple):
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]

    def applies(self, asked: Asked) -> bool:
        """Whether the statement is about what is asked."""
        action = asked.action.lower()
        return (
            any(fnmatchcase(action, one.lower()) for one in self.actions)
            and any(_like(asked.resource, one) for one in self.resources)
            and all(
                _holds(operator, asked.context.get(key.lower()), wanted)
                for operator, key, wanted in self.conditions
            )
        )


class Policy:
    """A policy's text, read. Raises SettingsError for what it cannot judge."""

    def __init__(self, text: str) -> None:
        try:
            document = json.loads(text)
        except ValueError as error:
            raise SettingsError(f"the policy is not JSON: {error}") from None
        _known(document, _KEYS)
        self._statements = [_statement(one) for one in _many(document["Statement"])]

    def allows(self, asked: Asked) -> bool:
        """Whether some statement allows it and none denies it."""
        found = [one.allows for one in self._statements if one.applies(asked)]
        return bool(found) and all(found)

    def names(self, action: str) -> bool:
        """Whether any statement is about the action at all."""
        wanted = action.lower()
        return any(
            fnmatchcase(wanted, one.lower()) for each in self._statements for one in each.actions
        )


def _statement(found: Mapping[str, Any]) -> _Statement:
    _known(found, _PARTS)
    conditions = tuple(
        (_operator(operator), key, tuple(str(one) for one in _many(wanted)))
        for operator, keys in found.get("Condition", {}).items()
        for key, wanted in keys.items()
    )
    return _Statement(
        found["Effect"] == "Allow",
        tuple(_many(found["Action"])),
        tuple(_many(found["Resource"])),
        conditions,
    )


def _known(found: Mapping[str, Any], keys: set[str]) -> None:
    for key in found:
        if key not in keys:
            raise SettingsError(f"the policy has {key!r}, which is not emulated")


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


# --- conditions -------------------------------------------------------------------------------


def _like(value: str, pattern: str) -> bool:
    """IAM's ``*`` and ``?``; brackets mean nothing there."""
    parts = (".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _same(value: str, wanted: str) -> bool:
    return value == wanted


def _at_most(value: str, wanted: str) -> bool:
    return float(value) <= float(wanted)


def _truth(value: str, wanted: str) -> bool:
    return value.lower() == wanted.lower()


_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": _same,
    "StringLike": _like,
    "ArnLike": _like,
    "NumericLessThanEquals": _at_most,
    "Bool": _truth,
}
_EVERY = "ForAllValues:"
_OPTIONAL = "IfExists"
_ABSENT = "Null"


def _operator(name: str) -> str:
    plain = name.removeprefix(_EVERY).removesuffix(_OPTIONAL)
    if plain not in {*_TESTS, _ABSENT}:
        raise SettingsError(f"the policy's condition {name!r} is not emulated")
    return name


def _holds(operator: str, found: tuple[str, ...] | None, wanted: Sequence[str]) -> bool:
    if operator == _ABSENT:
        return (found is None) == (wanted[0].lower() == "true")
    every = operator.startswith(_EVERY)
    if found is None:  # no value at all: true of every one of them
        return every or operator.endswith(_OPTIONAL)
    test = _TESTS[operator.removeprefix(_EVERY).removesuffix(_OPTIONAL)]
    hits = (any(test(value, one) for one in wanted) for value in found)
    return all(hits) if every else any(hits)
