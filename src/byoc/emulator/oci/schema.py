"""Routes and shapes of the OCI API, as ``tools/make_oci_schema.py`` read them from the SDK.

Checks give lists of problems, in words like the cloud's own. They hold for requests and for this
emulator's own answers alike.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any, NamedTuple

Query = Mapping[str, Sequence[str]]


class Operation(NamedTuple):
    """One operation. ``package``: whose models it uses; empty when only its route is known.

    ``query``: wire name -> the values it may have, None for any. ``body``, ``response``: types.
    ``retry_token``: whether it takes an ``opc-retry-token``.
    """

    name: str
    verb: str
    path: str
    package: str = ""
    query: Mapping[str, Sequence[str] | None] = {}
    required: tuple[str, ...] = ()
    body: str | None = None
    response: str | None = None
    retry_token: bool = False


class Schema:
    """The description, ready to be asked. Immutable; safe from any thread."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._models = data["models"]
        self.operations = {
            name: Operation(
                name, one["verb"], one["path"], one["package"], one["query"],
                tuple(one["required"]), one["body"], one["response"], one["retry_token"],
            )
            for name, one in data["operations"].items()
        }  # fmt: skip
        routes = sorted(data["routes"], key=lambda route: route[1].count("{"))  # literal ones first
        self._routes = [(verb, _pattern(path), path, name) for verb, path, name in routes]

    def match(self, verb: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation of a request and its path's parameters, or None when there is none."""
        for known, pattern, text, name in self._routes:
            found = pattern.fullmatch(path) if known == verb else None
            if found:
                return self.operations.get(name, Operation(name, verb, text)), found.groupdict()
        return None

    def fields(self, package: str, model: str) -> frozenset[str]:
        """The wire names of a model."""
        return frozenset(self._models[package][model]["fields"])

    def check_query(self, operation: Operation, query: Query) -> list[str]:
        """What is wrong with a request's query."""
        unknown = [name for name in query if name not in operation.query]
        found = [f"Unknown query parameter '{name}'" for name in unknown]
        for name, values in query.items():
            allowed = operation.query.get(name)
            if allowed and not set(values) <= set(allowed):
                found.append(f"Parameter {name} must be one of {', '.join(allowed)}")
        missing = [name for name in operation.required if name not in query]
        return found + [f"{name} must not be null" for name in missing]

    def check_body(self, operation: Operation, body: Any) -> list[str]:
        """What is wrong with a request's body."""
        if operation.body is None:
            return [] if body is None else [f"{operation.name} takes no body"]
        if body is None:
            return [f"{operation.body} must not be null"]
        return self._check(operation.package, operation.body, body, operation.body)

    def check_response(self, operation: Operation, body: Any) -> list[str]:
        """What is wrong with an answer."""
        if operation.response in {None, "bytes"}:
            return []
        assert operation.response is not None
        return self._check(operation.package, operation.response, body, operation.response)

    def _check(self, package: str, kind: str, value: Any, where: str) -> list[str]:
        if value is None:
            return []
        nested = re.fullmatch(r"(list|dict)(?:\[|\(\w+, )(.+)[\])]", kind)
        if nested:
            return self._check_many(package, nested[1], nested[2], value, where)
        if kind in _PLAIN:
            what, right = _PLAIN[kind]
            return [] if right(value) else [f"{where}: expected {what}, got {value!r}"]
        if not isinstance(value, dict):
            return [f"{where}: expected an object ({kind})"]
        return self._check_model(package, kind, value, where)

    def _check_many(
        self, package: str, outer: str, inner: str, value: Any, where: str
    ) -> list[str]:
        if outer == "list":
            if not isinstance(value, list):
                return [f"{where}: expected an array"]
            items = [(f"{where}[{i}]", one) for i, one in enumerate(value)]
        else:
            if not isinstance(value, dict):
                return [f"{where}: expected an object"]
            items = [(f"{where}.{key}", one) for key, one in value.items()]
        return [problem for at, one in items for problem in self._check(package, inner, one, at)]

    def _check_model(
        self, package: str, kind: str, value: Mapping[str, Any], where: str
    ) -> list[str]:
        model = self._models[package][kind]
        if "key" in model:
            kind = model["subtypes"].get(value.get(model["key"]), "")
            if not kind:
                return [f"{where}: {model['key']} must be one of {', '.join(model['subtypes'])}"]
            model = self._models[package][kind]
        found = []
        for name, one in value.items():
            if name not in model["fields"]:
                found.append(f"{where}: unrecognized field '{name}' (class {kind})")
                continue
            inner, _, allowed = model["fields"][name]
            found += self._check(package, inner, one, f"{where}.{name}")
            if allowed and one is not None and not _among(one, allowed):
                found.append(f"{where}.{name}: {one!r} must be one of {', '.join(allowed)}")
        missing = [
            name
            for name, (_, required, _) in model["fields"].items()
            if required and value.get(name) is None
        ]
        return found + [f"{where}: {name} must not be null" for name in missing]


@functools.cache
def load() -> Schema:
    """The packaged description; read once."""
    text = resources.files(__package__).joinpath("schema.json").read_text("utf-8")
    return Schema(json.loads(text))


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def _among(value: Any, allowed: Sequence[str]) -> bool:
    return set(value if isinstance(value, list) else [value]) <= set(allowed)


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_PLAIN: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("anything", lambda value: True),
    "str": ("a string", lambda value: isinstance(value, str)),
    "bool": ("a boolean", lambda value: isinstance(value, bool)),
    "int": ("an integer", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a number", _is_number),
    "datetime": ("an RFC 3339 timestamp", _is_time),
}
