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

_BY_FAMILY = {
    "instance-family": """
        launch_instance get_instance list_instances terminate_instance list_images get_image
        list_shapes list_vnic_attachments capture_console_history get_console_history
        get_console_history_content delete_console_history
    """,
    "virtual-network-family": """
        get_vnic create_vcn get_vcn list_vcns delete_vcn create_subnet get_subnet list_subnets
        delete_subnet create_internet_gateway get_internet_gateway list_internet_gateways
        delete_internet_gateway get_route_table list_route_tables update_route_table
        create_security_list get_security_list list_security_lists delete_security_list
        create_network_security_group get_network_security_group list_network_security_groups
        delete_network_security_group add_network_security_group_security_rules
        list_network_security_group_security_rules remove_network_security_group_security_rules
    """,
    "volume-family": "list_boot_volumes get_boot_volume delete_boot_volume",
    "work-requests": "list_work_requests list_work_request_errors",
    "tenancies": "list_region_subscriptions",
    "compartments": "list_availability_domains",
    "limits": "list_limit_values",
    "resource-availability": "get_resource_availability",
    "compute-capacity-reports": "create_compute_capacity_report",
    "dynamic-groups": "list_dynamic_groups",
    "policies": "list_policies",
}
OPERATIONS: Mapping[str, str] = {
    name: family for family, names in _BY_FAMILY.items() for name in names.split()
}
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
