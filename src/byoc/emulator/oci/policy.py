"""OCI's own judgement of statements: verbs on resource types, and permissions under conditions.

What is judged is what ``byoc iam oci`` prints. Of OCI's language as much as that uses is
understood, and anything else is refused when it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...errors import SettingsError
from ...providers.oci.permissions import FAMILIES, VERBS

_LIST = re.compile(r"<<'EOF'\n(\[.*?\])\nEOF", re.DOTALL)
_STATEMENT = re.compile(
    r"Allow (?P<kind>group|dynamic-group) (?P<who>\S+) to (?P<verb>\w+) (?P<resource>[\w-]+) in"
    r" (?:tenancy|compartment (?:id )?\S+)(?: where (?P<where>.+))?"
)
_TOKEN = re.compile(r"\s*(all|any|\{|\}|,|=|'[^']*'|[\w.-]+)")
Facts = Mapping[str, str]
"""A request's variables: ``request.permission``, ``target.instance.id`` and so on."""


class Statement(NamedTuple):
    """``machines``: it is for a dynamic group. ``where``: as it was written, or empty."""

    machines: bool
    verb: str
    resource: str
    where: str

    def covers(self, grant: str) -> bool:
        """Whether it gives ``use vnics`` and the like."""
        verb, _, resource = grant.partition(" ")
        members = FAMILIES.get(self.resource, ())
        enough = VERBS.index(self.verb) >= VERBS.index(verb)
        return enough and (resource == self.resource or resource in members)


class Policy:
    """A script's statements. Raises SettingsError for what it cannot judge."""

    def __init__(self, script: str) -> None:
        texts = [text for found in _LIST.findall(script) for text in json.loads(found)]
        self._statements = [_statement(text) for text in texts]

    def allows(self, grant: str) -> bool:
        """Whether byoc's user has what a statement such as ``use vnics`` gives."""
        return any(one.covers(grant) for one in self._statements if not one.machines)

    def lets_machine(self, facts: Facts) -> bool:
        """Whether a machine has the permission that ``facts`` name."""
        return any(
            not one.where or _true(one.where, facts) for one in self._statements if one.machines
        )


def _statement(text: str) -> Statement:
    match = _STATEMENT.fullmatch(text)
    if match is None or match["verb"] not in VERBS:
        raise SettingsError(f"the policy has a statement that is not emulated: {text}")
    if match["where"] and match["kind"] == "group":
        raise SettingsError(f"the policy has a condition that is not emulated: {text}")
    found = Statement(
        match["kind"] != "group", match["verb"], match["resource"], match["where"] or ""
    )
    if found.where:
        _true(found.where, {})  # read once, for what is not understood
    return found


def _true(where: str, facts: Facts) -> bool:
    words = [one.group(1) for one in _TOKEN.finditer(where)]
    value, rest = _condition(words, facts)
    if rest:
        raise SettingsError(f"the policy has a condition that is not emulated: {where}")
    return value


def _condition(words: Sequence[str], facts: Facts) -> tuple[bool, Sequence[str]]:
    """The value of the first condition of ``words``, and what follows it."""
    if words[0] in ("all", "any"):
        values, rest = [], words[1:]
        while rest and rest[0] in ("{", ","):
            value, rest = _condition(rest[1:], facts)
            values.append(value)
        return (all(values) if words[0] == "all" else any(values)), rest[1:]
    if len(words) < 3 or words[1] != "=":
        raise SettingsError(f"the policy has a condition that is not emulated: {words[0]}")
    left, right = facts.get(words[0], ""), words[2]
    wanted = right[1:-1] if right.startswith("'") else facts.get(right, "?")
    return bool(left) and left == wanted, words[3:]
