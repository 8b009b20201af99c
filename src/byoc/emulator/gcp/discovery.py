"""Google's description of an API, as a checker of requests and of our own answers.

The documents come with google-api-python-client. Rules that they do not hold (which machine takes
which GPU, say) are in :mod:`.rules`.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Schema = Mapping[str, Any]
_INT = re.compile(r"-?\d+")
_NAME = re.compile(r"\{\+?(\w+)\}")


class Method(NamedTuple):
    """``id``: such as ``compute.instances.insert``. ``spec``: its entry of the document."""

    id: str
    verb: str
    path: re.Pattern[str]
    spec: Schema
    api: Api


class Api:
    """One document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.schemas: Mapping[str, Schema] = document["schemas"]
        self._common: Mapping[str, Schema] = document.get("parameters", {})
        self._base = "/" + document["servicePath"]
        self.methods = list(self._collect(document))

    def _collect(self, node: Mapping[str, Any]) -> Iterator[Method]:
        for spec in node.get("methods", {}).values():
            path = _NAME.sub(r"(?P<\1>[^/:]+)", self._base + spec.get("flatPath", spec["path"]))
            yield Method(spec["id"], spec["httpMethod"], re.compile(path), spec, self)
        for child in node.get("resources", {}).values():
            yield from self._collect(child)

    def check_query(
        self, method: Method, path: Mapping[str, str], query: Mapping[str, Sequence[str]]
    ) -> list[str]:
        """What is wrong with the parameters of a request, in Google's words."""
        own: Mapping[str, Schema] = method.spec.get("parameters", {})
        wrong: list[str] = []
        for name, values in query.items():
            if not name.startswith("$"):  # of the client's transport
                spec = own.get(name) or self._common.get(name)
                wrong += _check_parameter(name, values, spec)
        for name, value in path.items():
            pattern = own.get(name, {}).get("pattern")
            if pattern and not re.fullmatch(pattern, value):
                wrong.append(_no_match(name, value, pattern))
        for name, spec in own.items():
            if spec.get("required") and spec["location"] == "query" and name not in query:
                wrong.append(f"Required field '{name}' not specified")
        return wrong

    def check_body(self, method: Method, body: Any) -> list[str]:
        """What is wrong with the body of a request."""
        if "request" not in method.spec:
            return [] if not body else [f"Invalid JSON payload: {method.id} takes no body"]
        schema = self.schemas[method.spec["request"]["$ref"]]
        return list(self._check(schema, body, "resource", method.id))

    def check_answer(self, method: Method, body: Any) -> list[str]:
        """What is wrong with an answer: a fault of the emulator."""
        if "response" not in method.spec:
            return []
        return list(self._check(self.schemas[method.spec["response"]["$ref"]], body, "answer", ""))

    def _check(self, schema: Schema, value: Any, at: str, method: str) -> Iterator[str]:
        """``method``: of a request, whose enums, patterns and required fields count; empty for an
        answer, in which newer values may stand."""
        schema = self.schemas[schema["$ref"]] if "$ref" in schema else schema
        kind = schema.get("type")
        if value is None or kind == "any":
            return
        if kind == "object":
            yield from self._check_object(schema, value, at, method)
        elif kind == "array":
            if not isinstance(value, list):
                yield f"Invalid value at '{at}' (array), {json.dumps(value)}"
                return
            for number, item in enumerate(value):
                yield from self._check(schema["items"], item, f"{at}[{number}]", method)
        else:
            yield from _check_scalar(schema, value, at, bool(method))

    def _check_object(self, schema: Schema, value: Any, at: str, method: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"Invalid value at '{at}' (object), {json.dumps(value)}"
            return
        known: Mapping[str, Schema] = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, item in value.items():
            spec = known.get(name, others)
            if spec is None:
                yield (
                    f"Invalid JSON payload received. Unknown name \"{name}\" at '{at}':"
                    " Cannot find field."
                )
            else:
                yield from self._check(spec, item, f"{at}.{name}", method)
        for name, spec in known.items():
            required = spec.get("annotations", {}).get("required", ())
            if method and method in required and name not in value:
                path = f"{at}.{name}"
                yield f"Invalid value for field '{path}': ''. Required field '{path}' not specified"


def _check_parameter(name: str, values: Sequence[str], spec: Schema | None) -> Iterator[str]:
    if spec is None:
        yield (
            f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query'
            f" parameter. Field '{name}' could not be found in request message."
        )
    elif "enum" in spec and not set(values) <= set(spec["enum"]):
        yield f"Invalid value at '{name}': {list(values)}"
    elif spec.get("type") == "integer" and not all(map(_INT.fullmatch, values)):
        yield f"Invalid value at '{name}' (TYPE_UINT32), \"{values[0]}\""


def _check_scalar(schema: Schema, value: Any, at: str, strict: bool) -> Iterator[str]:
    kind, form = schema.get("type"), schema.get("format")
    if not _fits(kind, form, value):
        yield f"Invalid value at '{at}' ({form or kind}), {json.dumps(value)}"
    elif strict and kind == "string" and "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(schema["enum"])
        yield f"Invalid value for field '{at}': '{value}'. Must be one of [{choices}]"
    elif strict and not re.fullmatch(schema.get("pattern", "(?s:.*)"), str(value)):
        yield _no_match(at, value, schema["pattern"])


def _fits(kind: Any, form: Any, value: Any) -> bool:
    """Whether a value is of a JSON type; numbers of 64 bits travel as strings."""
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    number = isinstance(value, int) or (isinstance(value, str) and bool(_INT.fullmatch(value)))
    if kind == "integer" or form in ("int64", "uint64"):
        return number
    if kind == "number":
        return isinstance(value, (int, float))
    return isinstance(value, str)


def _no_match(at: str, value: object, pattern: str) -> str:
    return f"Invalid value for field '{at}': '{value}'. Must be a match of regex '{pattern}'"


class Discovery:
    """Several APIs behind one address."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self._methods = [method for api in apis for method in api.methods]

    def match(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method that a request is for, and its path's parameters."""
        for method in self._methods:
            found = method.path.fullmatch(path) if method.verb == verb else None
            if found is not None:
                return method, found.groupdict()
        return None


@functools.cache
def load() -> Discovery:
    """Compute Engine v1, and what of the Resource Manager is emulated."""
    return Discovery([_read("compute.v1"), _read("cloudresourcemanager.v1")])


def _read(name: str) -> Api:
    folder = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents"
    return Api(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
