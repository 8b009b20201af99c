"""What the account that byoc acts as has to be allowed, as data: operation -> permissions.

Everything of ``docs/gcp.md``'s role, of ``byoc check`` and of the tests comes from here.
"""

from __future__ import annotations

from collections.abc import Mapping

_INSERT = (
    "compute.instances.create",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setTags",
    "compute.disks.create",
    "compute.disks.setLabels",
    "compute.subnetworks.use",
    "compute.subnetworks.useExternalIp",
)
_RULE = ("compute.networks.updatePolicy",)

NEEDED: Mapping[str, tuple[str, ...]] = {
    "compute.instances.insert": _INSERT,
    "compute.instances.get": ("compute.instances.get",),
    "compute.instances.aggregatedList": ("compute.instances.list",),
    "compute.instances.delete": ("compute.instances.delete", "compute.disks.delete"),
    "compute.instances.getSerialPortOutput": ("compute.instances.getSerialPortOutput",),
    "compute.disks.aggregatedList": ("compute.disks.list",),
    "compute.disks.get": ("compute.disks.get",),
    "compute.disks.delete": ("compute.disks.delete",),
    "compute.addresses.aggregatedList": ("compute.addresses.list",),
    "compute.addresses.get": ("compute.addresses.get",),
    "compute.addresses.delete": ("compute.addresses.delete",),
    "compute.firewalls.list": ("compute.firewalls.list",),
    "compute.firewalls.get": ("compute.firewalls.get",),
    "compute.firewalls.insert": ("compute.firewalls.create", *_RULE),
    "compute.firewalls.patch": ("compute.firewalls.update", *_RULE),
    "compute.firewalls.delete": ("compute.firewalls.delete", *_RULE),
    "compute.networks.get": ("compute.networks.get",),
    "compute.zoneOperations.list": ("compute.zoneOperations.list",),
    "compute.globalOperations.wait": ("compute.globalOperations.get",),
    "compute.images.get": (),  # of public projects: open to everybody
    "compute.images.getFromFamily": (),
    "compute.machineTypes.list": ("compute.machineTypes.list",),
    "compute.acceleratorTypes.list": ("compute.acceleratorTypes.list",),
    "compute.regions.get": ("compute.regions.get",),
    "compute.projects.get": ("compute.projects.get",),
    "cloudresourcemanager.projects.testIamPermissions": (),  # asks about oneself
}
ACT_AS = "iam.serviceAccounts.actAs"
"""On the account that instances act as, when ``gcp.service_account`` names one."""


def role() -> tuple[str, ...]:
    """The permissions of the least custom role, sorted."""
    return tuple(sorted({permission for needed in NEEDED.values() for permission in needed}))
