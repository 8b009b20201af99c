"""Write ``src/byoc/emulator/oci/schema.json``: the OCI API as data, read from the official SDK.

There is no public description file of the API. Each method of an SDK client holds its route in
plain assignments (resource_path, method, query_params, allowed values, body type, response type),
and each model class holds types, wire names, "[Required]" marks, the values its setters accept, and
discriminators. The result has every route by name (so that an operation which exists and is not
emulated can be told from one that does not exist), and the whole description of those emulated.

Run: ``python tools/make_oci_schema.py`` after a new version of the SDK, and commit the file.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parent.parent / "src" / "byoc" / "emulator" / "oci" / "schema.json"
CLIENTS = (
    ("oci.core.compute_client", "ComputeClient", "/20160918"),
    ("oci.core.virtual_network_client", "VirtualNetworkClient", "/20160918"),
    ("oci.core.blockstorage_client", "BlockstorageClient", "/20160918"),
    ("oci.identity.identity_client", "IdentityClient", "/20160918"),
    ("oci.limits.limits_client", "LimitsClient", ""),
    ("oci.work_requests.work_request_client", "WorkRequestClient", "/20160918"),
)
EMULATED = """
capture_console_history create_compute_capacity_report delete_console_history
get_console_history get_console_history_content get_image get_instance instance_action
launch_instance list_boot_volume_attachments list_console_histories list_images list_instances
list_shapes list_vnic_attachments terminate_instance update_instance get_vnic_attachment
add_network_security_group_security_rules create_internet_gateway create_network_security_group
create_security_list create_subnet create_vcn delete_internet_gateway
delete_network_security_group delete_route_table delete_security_list delete_subnet delete_vcn
get_internet_gateway get_network_security_group get_route_table get_security_list get_subnet
get_vcn get_vnic list_internet_gateways list_network_security_group_security_rules
list_network_security_groups list_route_tables list_security_lists list_subnets list_vcns
remove_network_security_group_security_rules update_route_table create_route_table
delete_boot_volume get_boot_volume list_boot_volumes list_volumes get_tenancy get_user
list_availability_domains list_compartments list_dynamic_groups list_fault_domains
list_policies list_region_subscriptions list_regions get_compartment create_dynamic_group
create_policy get_resource_availability list_limit_values list_limit_definitions list_services
get_work_request list_work_requests list_work_request_errors list_work_request_logs
"""
"""What the facade emulates: described in full."""


def main() -> None:
    SCHEMA.write_text(json.dumps(build(), separators=(",", ":"), sort_keys=True) + "\n", "utf-8")
    print(f"{SCHEMA}: {SCHEMA.stat().st_size} bytes")


def build() -> dict[str, Any]:
    """The description."""
    names = frozenset(EMULATED.split())
    routes: list[list[str]] = []
    operations: dict[str, Any] = {}
    models: dict[str, dict[str, Any]] = {}
    for module, attribute, base in CLIENTS:
        client = getattr(importlib.import_module(module), attribute)
        package = importlib.import_module(module.rsplit(".", 1)[0] + ".models")
        for name, method in inspect.getmembers(client, inspect.isfunction):
            found = None if name.startswith("_") else operation(method, base)
            if found is None:
                continue
            routes.append([found["verb"], found["path"], name])
            if name in names:
                found["package"] = package.__name__.split(".")[1]
                operations[name] = found
                for kind in (found["body"], found["response"]):
                    gather(package, kind, models.setdefault(found["package"], {}))
    missing = sorted(names - set(operations))
    if missing:
        raise SystemExit(f"the SDK has no {', '.join(missing)}")
    return {"routes": sorted(routes), "operations": operations, "models": models}


def operation(method: Any, base: str) -> dict[str, Any] | None:
    """One client method's route, or None when it is none."""
    found: dict[str, Any] = {}
    allowed: dict[str, list[str]] = {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            _assignment(node.targets[0].id, node.value, found, allowed)
        elif isinstance(node, ast.keyword) and node.arg == "response_type":
            found.setdefault("response", ast.literal_eval(node.value))
        elif isinstance(node, ast.keyword) and node.arg == "body":
            found.setdefault("argument", ast.unparse(node.value))
    if "resource_path" not in found:
        return None
    text = inspect.getdoc(method) or ""
    body = re.search(rf":param\s+(\S+)\s+{found.get('argument', '-')}:", text)
    query = found.get("query_params", {})
    return {
        "verb": found["method"],
        "path": base + found["resource_path"],
        "query": {wire: allowed.get(_argument(code)) for wire, code in query.items()},
        "required": [
            wire
            for wire, code in query.items()
            if {wire, code} & set(found.get("required_arguments", ()))
        ],
        "body": body[1].rsplit(".", 1)[-1] if body else None,
        "response": found.get("response"),
        "retry_token": "opc-retry-token" in found.get("header_params", {}),
    }


def _assignment(
    name: str, value: ast.expr, found: dict[str, Any], allowed: dict[str, list[str]]
) -> None:
    if name in {"resource_path", "method", "required_arguments"}:
        found.setdefault(name, ast.literal_eval(value))
    elif name in {"query_params", "header_params"} and isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        found.setdefault(
            name, {ast.literal_eval(key): ast.unparse(code) for key, code in pairs if key}
        )
    elif name.endswith("_allowed_values"):
        allowed.setdefault(name.removesuffix("_allowed_values"), ast.literal_eval(value))


def _argument(code: str) -> str:
    """``kwargs.get('sort_by', missing)`` -> ``sort_by``; a plain name is itself."""
    found = re.search(r"get\(['\"](\w+)['\"]", code)
    return found[1] if found else code


def gather(package: Any, kind: str | None, models: dict[str, Any]) -> None:
    """Add the model of ``kind`` and all that it refers to."""
    for name in re.findall(r"\w+", kind or ""):
        if name in models or not hasattr(package, name):
            continue
        models[name] = model(getattr(package, name))
        for inner, _, _ in models[name]["fields"].values():
            gather(package, inner, models)
        for inner in models[name].get("subtypes", {}).values():
            gather(package, inner, models)


def model(kind: Any) -> dict[str, Any]:
    """``fields``: wire name -> (type, required, values); ``key``/``subtypes``: discriminator."""
    made = kind()
    fields = {
        wire: [
            made.swagger_types[name],
            "**[Required]**" in (getattr(kind, name).__doc__ or ""),
            values(kind, name),
        ]
        for name, wire in made.attribute_map.items()
    }
    found: dict[str, Any] = {"fields": fields}
    if hasattr(kind, "get_subtype"):
        source = inspect.getsource(kind.get_subtype)
        found["key"] = re.findall(r"object_dictionary\['(\w+)'\]", source)[0]
        found["subtypes"] = dict(re.findall(r"== '([^']+)':\s+return '(\w+)'", source))
    return found


@functools.cache
def values(kind: Any, name: str) -> list[str] | None:
    """What the SDK's own setter accepts; None when it does not say."""
    source = inspect.getsource(getattr(kind, name).fset)
    found = re.search(r"allowed_values = (\[.*?\])", source, re.DOTALL)
    return _strings(found[1]) if found else None


def _strings(text: str) -> list[str]:
    return list(_each(ast.literal_eval(text)))


def _each(items: list[Any]) -> Iterator[str]:
    for item in items:
        yield str(item)


if __name__ == "__main__":
    main()
