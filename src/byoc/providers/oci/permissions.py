"""What byoc needs to be allowed on OCI, as data: for the documentation, the check, and a test that
holds it against every operation that the adapter was seen to use."""

from __future__ import annotations

from collections.abc import Mapping

USER_POLICY = (
    "Allow group {group} to manage instance-family in compartment {compartment}",
    "Allow group {group} to manage virtual-network-family in compartment {compartment}",
    "Allow group {group} to manage volume-family in compartment {compartment}",
    "Allow group {group} to read work-requests in compartment {compartment}",
    "Allow group {group} to inspect tenancies in tenancy",
    "Allow group {group} to inspect compartments in tenancy",
    "Allow group {group} to inspect limits in tenancy",
    "Allow group {group} to read resource-availability in tenancy",
    "Allow group {group} to manage compute-capacity-reports in tenancy",
    "Allow group {group} to inspect dynamic-groups in tenancy",
    "Allow group {group} to inspect policies in tenancy",
)
"""For the user that byoc acts as. Without the last five byoc works, and knows less beforehand."""

DYNAMIC_GROUP = "byoc-machines"
MATCHING_RULE = "ALL {{instance.compartment.id = '{compartment}'}}"
MACHINE_PERMISSIONS = (
    ("instance-family", ("INSTANCE_READ", "INSTANCE_DELETE"), True),
    ("virtual-network-family", ("VNIC_DELETE", "VNIC_DETACH", "SUBNET_DETACH"), False),
    ("volume-family", ("VOLUME_ATTACHMENT_DELETE", "VOLUME_DELETE", "VOLUME_WRITE"), False),
)
"""For the machines: resource type, permissions, and whether only for the machine itself. One whose
lease has passed can terminate itself, and no other; what hangs on it is not told apart by OCI."""

_COMPUTE, _NETWORK, _VOLUMES = "instance-family", "virtual-network-family", "volume-family"
OPERATIONS: Mapping[str, str] = {
    "launch_instance": _COMPUTE,
    "get_instance": _COMPUTE,
    "list_instances": _COMPUTE,
    "terminate_instance": _COMPUTE,
    "list_images": _COMPUTE,
    "get_image": _COMPUTE,
    "list_shapes": _COMPUTE,
    "list_vnic_attachments": _COMPUTE,
    "capture_console_history": _COMPUTE,
    "get_console_history": _COMPUTE,
    "get_console_history_content": _COMPUTE,
    "delete_console_history": _COMPUTE,
    "get_vnic": _NETWORK,
    **{
        f"{verb}_{part}": _NETWORK
        for part in (
            "vcn", "subnet", "internet_gateway", "route_table", "security_list",
            "network_security_group",
        )
        for verb in ("create", "get", "update", "delete")
    },
    "list_vcns": _NETWORK,
    "list_subnets": _NETWORK,
    "list_internet_gateways": _NETWORK,
    "list_route_tables": _NETWORK,
    "list_security_lists": _NETWORK,
    "list_network_security_groups": _NETWORK,
    "list_network_security_group_security_rules": _NETWORK,
    "add_network_security_group_security_rules": _NETWORK,
    "remove_network_security_group_security_rules": _NETWORK,
    "list_boot_volumes": _VOLUMES,
    "get_boot_volume": _VOLUMES,
    "delete_boot_volume": _VOLUMES,
    "list_work_requests": "work-requests",
    "list_work_request_errors": "work-requests",
    "list_region_subscriptions": "tenancies",
    "get_tenancy": "tenancies",
    "list_availability_domains": "compartments",
    "list_limit_values": "limits",
    "get_resource_availability": "resource-availability",
    "create_compute_capacity_report": "compute-capacity-reports",
    "list_dynamic_groups": "dynamic-groups",
    "list_policies": "policies",
}  # fmt: skip
"""Every operation of the adapter, and the resource type whose statement allows it."""


def machine_policy(compartment: str, dynamic_group: str = DYNAMIC_GROUP) -> tuple[str, ...]:
    """The statements for the machines of a compartment (an OCID)."""
    found = []
    for family, permissions, own in MACHINE_PERMISSIONS:
        some = ", ".join(f"request.permission = '{one}'" for one in permissions)
        condition = f"any {{{some}}}"
        if own:
            condition = f"all {{request.instance.id = target.instance.id, {condition}}}"
        found.append(
            f"Allow dynamic-group {dynamic_group} to manage {family} in compartment id "
            f"{compartment} where {condition}"
        )
    return tuple(found)


def matching_rule(compartment: str) -> str:
    """Which instances belong to the dynamic group."""
    return MATCHING_RULE.format(compartment=compartment)
