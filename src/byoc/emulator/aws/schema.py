"""Requests and answers held against AWS's own description of its services, which botocore carries.

An unknown parameter, a wrong type, a value outside an enumeration or a missing one is refused as
EC2 does; an answer of ours that does not fit is our own mistake, and is never sent.
"""

from __future__ import annotations

import datetime as dt
import functools
import urllib.parse
import uuid
from typing import Any
from xml.etree import ElementTree as ET

import botocore.session
import botocore.utils
import botocore.validate

from .refusals import Refusal

XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
_MEMBERS = "member"  # between a list and its number, in the query protocol


@functools.cache
def model(service: str) -> Any:
    """botocore's model of a service."""
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def operations(service: str) -> frozenset[str]:
    """The operations that a service has."""
    return frozenset(model(service).operation_names)


# --- requests -------------------------------------------------------------------------------


def parse_form(service: str, body: bytes) -> tuple[str, dict[str, Any]]:
    """The operation of a form and its parameters, typed. Raises Refusal for what does not fit."""
    form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
    operation = form.pop("Action", "")
    form.pop("Version", "")
    if operation not in operations(service):
        raise Refusal(
            "InvalidAction", f"The action {operation} is not valid for this web service.", 400
        )
    shape = model(service).operation_model(operation).input_shape
    tree = _tree(form)
    found = _typed(shape, tree, "", service == "ec2") if shape else {}
    if shape is None and tree:
        raise _unknown(next(iter(tree)))
    check(shape, found)
    return operation, found


def check(shape: Any, params: Any) -> None:
    """Raises Refusal for parameters that are missing or out of range."""
    if shape is None:
        return
    for name in shape.required_members:
        if name not in params:
            message = f"The request must contain the parameter {name}"
            raise Refusal("MissingParameter", message, 400)
    report = botocore.validate.ParamValidator().validate(params, shape)
    if report.has_errors():
        code = "MissingParameter" if "Missing required" in report.generate_report() else ""
        raise Refusal(code or "InvalidParameterValue", report.generate_report(), 400)


def _tree(form: dict[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in form.items():
        node, *parts = tree, *key.split(".")
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise _unknown(key)
        node[parts[-1]] = value
    return tree


def _typed(shape: Any, node: Any, path: str, ec2: bool) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, node, path, ec2)
    if kind == "list":
        return _list(shape, node, path, ec2)
    if isinstance(node, dict):
        raise _wrong(path, "a structure")
    if kind == "boolean":
        if node.lower() not in ("true", "false"):
            raise _wrong(path, node)
        return node.lower() == "true"
    try:
        if kind in ("integer", "long"):
            return int(node)
        if kind in ("float", "double"):
            return float(node)
        if kind == "timestamp":
            return botocore.utils.parse_timestamp(node)
    except ValueError:
        raise _wrong(path, node) from None
    if getattr(shape, "enum", None) and node not in shape.enum:
        raise _wrong(path, node)
    return node


def _structure(shape: Any, node: Any, path: str, ec2: bool) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise _wrong(path, node)
    known = {_wire_name(name, member, ec2): name for name, member in shape.members.items()}
    found = {}
    for key, value in node.items():
        if key not in known:
            raise _unknown(f"{path}{key}")
        name = known[key]
        found[name] = _typed(shape.members[name], value, f"{path}{key}.", ec2)
    return found


def _list(shape: Any, node: Any, path: str, ec2: bool) -> list[Any]:
    if isinstance(node, dict) and not ec2 and set(node) == {_MEMBERS}:
        node = node[_MEMBERS]
    if not isinstance(node, dict) or not all(key.isdecimal() for key in node):
        raise _wrong(path, "a value that is no list")
    numbers = sorted(node, key=int)
    if [int(number) for number in numbers] != list(range(1, len(node) + 1)):
        raise _wrong(path, "a list with gaps")
    return [_typed(shape.member, node[number], f"{path}{number}.", ec2) for number in numbers]


def _wire_name(name: str, shape: Any, ec2: bool) -> str:
    """The name of a member in a form."""
    told: str = shape.serialization.get("queryName", "") if ec2 else ""
    if told:
        return told
    told = shape.serialization.get("name") or name
    return told[0].upper() + told[1:] if ec2 else told


def _unknown(name: str) -> Refusal:
    return Refusal("UnknownParameter", f"The parameter {name} is not recognized", 400)


def _wrong(path: str, value: object) -> Refusal:
    message = f"Value ({value}) for parameter {path.rstrip('.')} is invalid."
    return Refusal("InvalidParameterValue", message, 400)


# --- answers --------------------------------------------------------------------------------


def render(operation: str, data: dict[str, Any]) -> bytes:
    """An answer of EC2 with these members, named as in boto3."""
    root = ET.Element(f"{operation}Response", xmlns=XMLNS)
    ET.SubElement(root, "requestId").text = str(uuid.uuid4())
    shape = model("ec2").operation_model(operation).output_shape
    if shape is not None:
        _fill(root, shape, data)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _fill(element: ET.Element, shape: Any, value: Any) -> None:
    if shape.type_name == "structure":
        for name, one in value.items():
            if one is None:
                continue
            member = shape.members[name]
            tag = member.serialization.get("name", name)
            _fill(ET.SubElement(element, tag), member, one)
    elif shape.type_name == "list":
        for one in value:
            _fill(ET.SubElement(element, _item(shape)), shape.member, one)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif isinstance(value, dt.datetime):
        element.text = value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    else:
        element.text = str(value)


def _item(shape: Any) -> str:
    return str(shape.member.serialization.get("name", "item"))


def faults(operation: str, body: bytes) -> list[str]:
    """What is wrong with an answer of ours: elements that EC2 never sends, values that it does
    not know."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - our own text
    except ET.ParseError as error:
        return [f"{operation}: {error}"]
    shape = model("ec2").operation_model(operation).output_shape
    found: list[str] = []
    children = [one for one in root if _tag(one).lower() != "requestid"]
    if shape is None:
        # Operations without an output say ``return``, which no client reads.
        return [f"{operation}: <{_tag(one)}>" for one in children if _tag(one) != "return"]
    for child in children:
        _compare_member(shape, child, operation, found)
    return found


def _compare_member(shape: Any, element: Any, path: str, found: list[str]) -> None:
    for name, member in shape.members.items():
        if member.serialization.get("name", name) == _tag(element):
            _compare(member, element, f"{path}.{name}", found)
            return
    found.append(f"{path}: <{_tag(element)}> is not in EC2's model")


def _compare(shape: Any, element: Any, path: str, found: list[str]) -> None:
    text = (element.text or "").strip()
    if shape.type_name == "structure":
        for child in element:
            _compare_member(shape, child, path, found)
    elif shape.type_name == "list":
        for child in element:
            if _tag(child) != _item(shape):
                found.append(f"{path}: <{_tag(child)}> in a list of <{_item(shape)}>")
            _compare(shape.member, child, path, found)
    elif not _fits(shape, text):
        found.append(f"{path}: {text!r} is no {shape.name}")


def _fits(shape: Any, text: str) -> bool:
    kind = shape.type_name
    if kind in ("integer", "long"):
        return text.lstrip("-").isdecimal()
    if kind == "boolean":
        return text in ("true", "false")
    if getattr(shape, "enum", None):
        return text == "" or text in shape.enum
    return True


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
