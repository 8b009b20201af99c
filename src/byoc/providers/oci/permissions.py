"""What byoc needs to be allowed on OCI, as data: each operation, and the statements that allow it.

``byoc iam oci``, ``docs/permissions.md``, ``byoc check`` and what an emulated tenancy allows all
come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..needs import EVERYTHING, FIREWALL, Needs

VERBS = ("inspect", "read", "use", "manage")
"""Each includes those before it."""


class Statement(NamedTuple):
    """One statement for the group that byoc's user is in. ``where``: ``compartment`` or
    ``tenancy``. ``always``: byoc can rent nothing without it. ``network``: only needed where byoc
    makes the network itself."""

    verb: str
    resource: str
    where: str
    why: str
    always: bool = True
    network: bool = False

    def text(self, group: str, compartment: str) -> str:
        """As OCI takes it."""
        root = self.where == "tenancy" or compartment.startswith("id ocid1.tenancy.")
        where = "tenancy" if root else f"compartment {compartment}"
        return f"Allow group {group} to {self.verb} {self.resource} in {where}"


_HERE, _ALL = "compartment", "tenancy"
STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "manage", "instance-family", _HERE,
        "to launch, look at, mark and terminate; OCI has no condition on freeform tags, so what"
        " bounds it is the compartment",
    ),
    Statement("use", "subnets", _HERE, "to plug instances in"),
    Statement("use", "vnics", _HERE, "to plug instances in, and to learn their addresses"),
    Statement("use", "network-security-groups", _HERE, "to put instances behind the firewall"),
    Statement("manage", "vcns", _HERE, "to make one network in each region", True, True),
    Statement("manage", "internet-gateways", _HERE, "the network's way out", True, True),
    Statement("manage", "route-tables", _HERE, "the network's way out", True, True),
    Statement("manage", "security-lists", _HERE, "a list that lets nobody in", True, True),
    Statement("manage", "subnets", _HERE, "one subnet in the network", True, True),
    Statement("use", "dhcp-options", _HERE, "a subnet takes its network's own", True, True),
    Statement(
        "manage", "network-security-groups", _HERE, "to let in SSH from this computer only, and to"
        " shut the door again", True, True,
    ),
    Statement("manage", "volume-family", _HERE, "to remove disks that were left behind", False),
    Statement("read", "work-requests", _HERE, "to say why a launch failed", False),
    Statement("inspect", "tenancies", _ALL, "to learn the regions"),
    Statement("inspect", "compartments", _ALL, "to learn the availability domains"),
    Statement("inspect", "limits", _ALL, "to leave out what no limit allows", False),
    Statement("read", "resource-availability", _ALL, "to leave out what is used up", False),
    Statement("manage", "compute-capacity-reports", _ALL, "to ask what there is now", False),
    Statement("inspect", "dynamic-groups", _ALL, "to tell if machines may end themselves", False),
    Statement("inspect", "policies", _ALL, "to tell if machines may end themselves", False),
)  # fmt: skip
"""Verbs and resource types are those of Oracle's policy reference; ``instance-family`` and
``volume-family`` stay whole, because launching and terminating need permissions of theirs that no
single type has."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "instance-family": ("instances", "instance-images", "console-histories"),
    "virtual-network-family": (
        "vcns", "internet-gateways", "route-tables", "security-lists", "subnets", "dhcp-options",
        "network-security-groups", "vnics", "vnic-attachments",
    ),
    "volume-family": ("volumes", "volume-attachments"),
}  # fmt: skip
"""What a family stands for, of what byoc uses."""

_BY_GRANT = {
    "manage instance-family": """
        launch_instance terminate_instance update_instance get_instance list_instances list_images
        get_image list_shapes list_vnic_attachments capture_console_history get_console_history
        get_console_history_content delete_console_history
    """,
    "use vnics": "get_vnic",
    "use subnets": "get_subnet list_subnets",
    "use network-security-groups": """
        get_network_security_group list_network_security_groups
        list_network_security_group_security_rules
    """,
    "manage vcns": "create_vcn get_vcn list_vcns delete_vcn",
    "manage internet-gateways": """
        create_internet_gateway get_internet_gateway list_internet_gateways
        delete_internet_gateway
    """,
    "manage route-tables": "get_route_table list_route_tables update_route_table",
    "manage security-lists": """
        create_security_list get_security_list list_security_lists delete_security_list
        update_security_list
    """,
    "manage subnets": "create_subnet delete_subnet",
    "manage network-security-groups": """
        create_network_security_group delete_network_security_group
        add_network_security_group_security_rules remove_network_security_group_security_rules
    """,
    "manage volume-family": "list_boot_volumes get_boot_volume delete_boot_volume",
    "read work-requests": "list_work_requests list_work_request_errors",
    "inspect tenancies": "list_region_subscriptions",
    "inspect compartments": "list_availability_domains",
    "inspect limits": "list_limit_values",
    "read resource-availability": "get_resource_availability",
    "manage compute-capacity-reports": "create_compute_capacity_report",
    "inspect dynamic-groups": "list_dynamic_groups",
    "inspect policies": "list_policies",
}
_ALSO = {
    "launch_instance": ("use subnets", "use vnics", "use network-security-groups"),
    "terminate_instance": ("use subnets", "use vnics"),
    "create_subnet": (
        "manage vcns", "manage route-tables", "manage security-lists", "use dhcp-options",
    ),
    "create_internet_gateway": ("manage vcns",),
    "create_security_list": ("manage vcns",),
    "create_network_security_group": ("manage vcns",),
    "update_route_table": ("manage internet-gateways",),
}  # fmt: skip
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    name: (grant, *_ALSO.get(name, ()))
    for grant, names in _BY_GRANT.items()
    for name in names.split()
}
"""Every operation of the adapter, and what of a statement it needs: verb and resource type."""

DYNAMIC_GROUP = "byoc-machines"
MATCHING_RULE = "ALL {{instance.compartment.id = '{compartment}'}}"
MACHINE_PERMISSIONS = (
    ("instance-family", ("INSTANCE_READ", "INSTANCE_DELETE"), True),
    ("virtual-network-family", ("VNIC_DELETE", "VNIC_DETACH", "SUBNET_DETACH"), False),
    ("volume-family", ("VOLUME_ATTACHMENT_DELETE", "VOLUME_DELETE", "VOLUME_WRITE"), False),
)
"""For the machines: resource type, permissions, and whether only for the machine itself. One whose
lease has passed can terminate itself, and no other; what hangs on it is not told apart by OCI."""
MACHINE_OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "get_instance": ("INSTANCE_READ",),
    "terminate_instance": ("INSTANCE_DELETE", "VNIC_DELETE", "SUBNET_DETACH"),
}
"""What a machine does, and the permissions that it needs."""


def statements(needs: Needs) -> list[Statement]:
    """The least statements for what is needed."""
    return [one for one in STATEMENTS if FIREWALL in needs.features or not one.network]


USER_POLICY = tuple(one.text("{group}", "{compartment}") for one in statements(EVERYTHING))
"""For the user that byoc acts as, with two words left open."""


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
