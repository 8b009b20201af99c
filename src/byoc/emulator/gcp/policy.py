"""Google's own judgement: who is bound to which role, and under which condition.

What is judged is the script that ``byoc iam gcp`` prints: its roles' YAML, its bindings and their
conditions. Of the conditions' language (CEL) as much as those use is understood, and anything else
is refused when it is read.
"""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from ...errors import SettingsError

_ROLE = re.compile(r"^gcloud iam roles create (\w+) [^\n]*<<'EOF'\n(.*?)\nEOF$", re.M | re.S)
_PERMISSION = re.compile(r"^- (\S+)$", re.MULTILINE)
_BIND = re.compile(r"^gcloud (projects|iam service-accounts) add-iam-policy-binding .*$", re.M)
ACT_AS = "iam.serviceAccounts.actAs"
PROJECT = "cloudresourcemanager.googleapis.com/Project"


class Thing(NamedTuple):
    """What a permission is asked on: IAM's ``resource.type`` and ``resource.name``."""

    type: str
    name: str


class Binding(NamedTuple):
    """``member``: as in ``user:me@example.com``. ``on``: an account that may be acted as; empty for
    the project. ``condition``: read, None without one."""

    member: str
    permissions: frozenset[str]
    on: str = ""
    condition: ast.expr | None = None

    def allows(self, permission: str, thing: Thing) -> bool:
        """Whether it gives this permission on this thing."""
        if permission not in self.permissions or (self.on and thing.name != self.on):
            return False
        return self.condition is None or bool(_value(self.condition, thing))


class Policy:
    """The script's bindings. Raises SettingsError for what it cannot judge."""

    def __init__(self, script: str) -> None:
        roles = {name: frozenset(_PERMISSION.findall(yaml)) for name, yaml in _ROLE.findall(script)}
        plain = _ROLE.sub("", script)
        self.bindings = [_binding(line.group(), roles) for line in _BIND.finditer(plain)]

    def allows(self, member: str, permission: str, thing: Thing) -> bool:
        """Whether a member has a permission on a thing. An empty one: whoever is bound."""
        return any(
            one.allows(permission, thing) for one in self.bindings if member in ("", one.member)
        )


def _binding(line: str, roles: Mapping[str, frozenset[str]]) -> Binding:
    words = shlex.split(line)
    options = dict(itertools.pairwise(words))
    role = options["--role"].rpartition("/")[2]
    if words[1] == "iam":
        return Binding(options["--member"], frozenset({ACT_AS}), words[4])
    if role not in roles:
        raise SettingsError(f"the policy binds {role}, a role that it does not make")
    condition = options.get("--condition", "None").partition("expression=")[2]
    return Binding(
        options["--member"], roles[role], condition=_read(condition) if condition else None
    )


# --- conditions -------------------------------------------------------------------------------


def _read(expression: str) -> ast.expr:
    """CEL is close enough to Python's own grammar once its two operators are spelt out."""
    try:
        tree = ast.parse(expression.replace("&&", " and ").replace("||", " or "), mode="eval").body
        _value(tree, Thing(PROJECT, ""))
    except (SyntaxError, TypeError, ValueError) as error:
        raise SettingsError(f"the policy's condition is not emulated: {error}") from None
    return tree


def _value(node: ast.expr, thing: Thing) -> str | bool:
    if isinstance(node, ast.BoolOp):
        parts = [bool(_value(one, thing)) for one in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq):
        return _value(node.left, thing) == _value(node.comparators[0], thing)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "resource":
        return {"type": thing.type, "name": thing.name}[node.attr]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        text = str(_value(node.func.value, thing))
        argument = str(_value(node.args[0], thing))
        if node.func.attr == "startsWith":
            return text.startswith(argument)
        if node.func.attr == "extract":
            return _extract(text, argument)
    raise ValueError(ast.unparse(node))


def _extract(text: str, template: str) -> str:
    """What stands in the place of ``{...}``; empty where the text does not fit."""
    before, _, rest = template.partition("{")
    after = rest.partition("}")[2]
    _, found, value = text.partition(before)
    if not found:
        return ""
    return value.partition(after)[0] if after else value
