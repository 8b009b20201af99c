"""What the account that byoc acts as has to be allowed, as data: operation -> permissions.

``byoc iam gcp``, ``docs/permissions.md``, ``byoc check`` and what an emulated project allows all
come from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..needs import ADDRESS, FIREWALL, Needs
from .body import PREFIX

_NETWORK = ("compute.networks.updatePolicy",)
_LABELS = "compute.instances.setLabels"

NEEDED: Mapping[str, tuple[str, ...]] = {
    "compute.instances.insert": (
        "compute.instances.create",
        _LABELS,
        "compute.instances.setMetadata",
        "compute.instances.setTags",
        "compute.disks.create",
        "compute.disks.setLabels",
        "compute.subnetworks.use",
        "compute.subnetworks.useExternalIp",
    ),
    "compute.instances.get": ("compute.instances.get",),
    "compute.instances.aggregatedList": ("compute.instances.list",),
    "compute.instances.setLabels": (_LABELS,),
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
    "compute.firewalls.insert": ("compute.firewalls.create", *_NETWORK),
    "compute.firewalls.patch": ("compute.firewalls.update", *_NETWORK),
    "compute.firewalls.delete": ("compute.firewalls.delete", *_NETWORK),
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
OPTIONAL = frozenset({
    "compute.acceleratorTypes.list", "compute.addresses.delete", "compute.addresses.get",
    "compute.addresses.list", "compute.disks.get", "compute.disks.list", "compute.firewalls.get",
    "compute.firewalls.update", "compute.firewalls.delete",
    "compute.instances.getSerialPortOutput", "compute.machineTypes.list", "compute.networks.get",
    "compute.projects.get", "compute.regions.get",
})  # fmt: skip
"""Permissions without which byoc still runs programs: it knows less beforehand, says less when a
launch fails, leaves a sweep to somebody else, or is refused after this computer has moved."""
KINDS: Mapping[str, str] = {"instances": "Instance", "disks": "Disk", "firewalls": "Firewall"}
"""What of Compute Engine an IAM condition can tell by its name, by the permissions' own word."""
MOST_REGIONS = 6
"""Regions that a condition can name: IAM takes 12 logical operators."""
_ZONE = 'resource.name.extract("/zones/{zone}/").startsWith("%s-")'
_PROJECT = 'resource.type == "cloudresourcemanager.googleapis.com/Project"'


class Role(NamedTuple):
    """A custom role with what it is bound by. ``condition``: in IAM's language, or empty."""

    name: str
    why: str
    permissions: tuple[str, ...]
    condition: str = ""


def role() -> tuple[str, ...]:
    """The permissions of the roles together, sorted."""
    return tuple(sorted({permission for needed in NEEDED.values() for permission in needed}))


def roles(needs: Needs) -> list[Role]:
    """The least roles for what is needed: one to look, one to launch, one to end."""
    wanted = [one for one in role() if _needed(one, needs)]
    named = [one for one in wanted if _by_name(one)]
    makes = tuple(one for one in named if one.endswith((".create", ".setTags", ".setMetadata")))
    return [
        Role(
            "byocLook",
            "To look around, and to use the project's network. Lists and networks cannot be bound"
            " to names.",
            tuple(one for one in wanted if one not in named),
        ),
        Role(
            "byocLaunch",
            f"To make instances, disks and firewall rules whose names begin with {PREFIX}.",
            makes,
            _condition(makes, needs.regions),
        ),
        Role(
            "byocOwn",
            f"To label, end and remove what is called {PREFIX}..., in every region, and nothing"
            " else.",
            tuple(one for one in named if one not in makes),
            _condition([one for one in named if one not in makes], ()),
        ),
    ]


def _needed(permission: str, needs: Needs) -> bool:
    if permission == "compute.subnetworks.useExternalIp":
        return ADDRESS in needs.features
    firewall = ".firewalls." in permission or permission in _NETWORK
    return FIREWALL in needs.features or not firewall


def _by_name(permission: str) -> bool:
    """Whether it changes (or reads the console of) something that can be told by its name."""
    kind, _, verb = permission.removeprefix("compute.").partition(".")
    return kind in KINDS and verb not in ("get", "list")


def _condition(permissions: Sequence[str], regions: tuple[str, ...]) -> str:
    """The names, and the places where there are any. What is asked of the project itself, such as
    which permissions one has, has no such name."""
    kinds = [word for word in KINDS if any(f".{word}." in one for one in permissions)]
    placed = [_named(word) for word in kinds if word != "firewalls"]
    rest = [_named(word) for word in kinds if word == "firewalls"]  # the whole project's
    if regions and len(regions) <= MOST_REGIONS:
        zones = " || ".join(_ZONE % one for one in regions)
        placed = [f"(({' || '.join(placed)}) && ({zones}))"]
    return " || ".join([*placed, *rest, _PROJECT])


def _named(word: str) -> str:
    kind = f'resource.type == "compute.googleapis.com/{KINDS[word]}"'
    name = f'resource.name.extract("/{word}/{{name}}").startsWith("{PREFIX}")'
    return f"({kind} && {name})"


def machine_role() -> Role:
    """What ``gcp.service_account`` needs, so that a machine can delete itself."""
    permissions = NEEDED["compute.instances.delete"]
    return Role(
        "byocEnd",
        "For the machines' account: a machine whose lease has passed deletes itself.",
        permissions,
        _condition(permissions, ()),
    )
