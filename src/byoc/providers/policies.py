"""The least policies by cloud: who prints them, and what of byoc's settings they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .. import _lazy
from .needs import ADDRESS, ALL, FIREWALL, Needs, Printed, Target

_PRINTERS = {
    "aws": "byoc.providers.aws.iam:printed",
    "gcp": "byoc.providers.gcp.iam:printed",
    "oci": "byoc.providers.oci.iam:printed",
}
_GIVEN_NETWORK = {"aws": "security_group", "oci": "subnet"}
"""The setting with which byoc makes no firewall of its own."""
_PLACES = {"gcp": ("project",), "oci": ("compartment", "tenancy")}
"""What a cloud calls the part of an account that a policy is for."""
_BY_OWNER = ("aws",)
"""Clouds whose policies can tell one installation's things from another's."""


def clouds() -> tuple[str, ...]:
    """Those that have a policy."""
    return tuple(_PRINTERS)


def places(cloud: str) -> tuple[str, ...]:
    """The names of what a policy there is for: ``project``, or ``compartment`` and ``tenancy``."""
    return _PLACES.get(cloud, ())


def knows_owners(cloud: str) -> bool:
    """Whether a policy can be for one installation only."""
    return cloud in _BY_OWNER


def needs(cloud: str, options: Mapping[str, str] = MappingProxyType({})) -> Needs:
    """What all of byoc needs with these settings of the cloud's own."""
    features = set(ALL)
    if options.get(_GIVEN_NETWORK.get(cloud, ""), ""):
        features.discard(FIREWALL)
    if options.get("public_address") == "false":
        features.discard(ADDRESS)
    return Needs(frozenset(features), account=options.get("service_account", ""))


def printed(
    cloud: str, wanted: Needs, target: Target, options: Mapping[str, str] = MappingProxyType({})
) -> Printed:
    """The policy. Where ``target`` does not say, the settings name project or compartment."""
    given = options.get("project", "") or options.get("compartment", "")
    found: Printed = _lazy.load(_PRINTERS[cloud])(
        wanted, target._replace(where=target.where or given)
    )
    return found
