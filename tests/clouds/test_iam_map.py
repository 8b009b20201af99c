"""No adapter's source names a call that its map of permissions lacks.

The emulated accounts refuse such a call when it is made; this finds it also where no test makes it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import botocore.session
from botocore import xform_name

from byoc.emulator.oci.schema import load
from byoc.providers.aws.permissions import PERMISSIONS
from byoc.providers.gcp.permissions import NEEDED
from byoc.providers.oci.permissions import OPERATIONS
from tests.helpers import ROOT

ADAPTERS = ROOT / "src" / "byoc" / "providers"
SERVICES = {
    "ec2": "ec2",
    "ssm": "ssm",
    "sts": "sts",
    "iam": "iam",
    "service-quotas": "servicequotas",
    "pricing": "pricing",
}
"""AWS's services by botocore's name, with the name that permissions have."""
FREE = {"sts:GetCallerIdentity"}
ASKING = ("call", "find", "once", "pages")
"""Methods of ``Google`` that take a service and one of its methods."""


def trees(cloud: str) -> Iterator[tuple[Path, ast.Module]]:
    """An adapter's modules; the one that is a program for machines is not asked by byoc."""
    for file in sorted((ADAPTERS / cloud).glob("*.py")):
        if file.name not in ("selfend.py", "permissions.py"):
            yield file, ast.parse(file.read_text(encoding="utf-8"))


def words(cloud: str) -> set[str]:
    """Every text and every attribute in an adapter's source: whatever could name an operation."""
    found: set[str] = set()
    for _, tree in trees(cloud):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


def test_aws() -> None:
    """Each operation of AWS's own models that the adapter names is in the map."""
    session = botocore.session.get_session()
    known: dict[str, str] = {}
    for model, service in SERVICES.items():
        for operation in session.get_service_model(model).operation_names:
            known[xform_name(operation)] = f"{service}:{operation}"
    named = {known[word] for word in words("aws") if word in known}
    assert len(named) > 15
    assert named - FREE <= {one.action for one in PERMISSIONS}


def test_gcp() -> None:
    """Each pair of service and method that the adapter asks for is in the map."""
    named: set[str] = set()
    for _, tree in trees("gcp"):
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            told = [one.value for one in node.args if isinstance(one, ast.Constant)]
            if node.func.attr == "everywhere" and told:
                named.add(f"compute.{told[0]}.aggregatedList")
            elif node.func.attr in ASKING and len(told) >= 2:
                service, method = (camel(str(word)) for word in told[:2])
                named.add(f"compute.{service}.{method.removesuffix('Unary')}")
    assert len(named) > 12
    assert named <= set(NEEDED), named - set(NEEDED)


def test_oci() -> None:
    """Each operation of Oracle's SDK that the adapter names is in the map."""
    known = set(load().operations)
    named = words("oci") & known
    assert len(named) > 20
    assert named <= set(OPERATIONS), named - set(OPERATIONS)


def camel(name: str) -> str:
    """``global_operations`` -> ``globalOperations``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
