"""The network on OCI: made once, open to the caller alone, removed as a whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from byoc.errors import BadRequestError, TransientError
from byoc.providers.base import OWNER_TAG
from byoc.providers.oci.network import Networks, Wanted
from byoc.providers.oci.provider import OciProvider
from tests.clouds.oci.conftest import OWNER, REGION, ZONES, MakeTenancy, Tenancy, offer, request
from tests.helpers import until

HERE = Wanted(OWNER, ("203.0.113.7/32",), 22)


class Later:
    """A clock that stands at a later time."""

    def __init__(self, wall: float) -> None:
        self._wall = wall

    def wall(self) -> float:
        return self._wall

    def mono(self) -> float:
        return self._wall

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing waits here, not even {seconds} s")


def networks(provider: OciProvider, wall: float = 1_800_000_000.0) -> Networks:
    return Networks(provider._account, Later(wall))


def test_eight_clients_at_once_make_one_network(tenancy: Tenancy) -> None:
    """Each client has a provider of its own and its own locks: still there is one of everything."""
    others = [tenancy.another() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda one: networks(one).ensure(REGION, HERE), others))
    assert len(set(made)) == 1
    kinds = [one.kind for one in tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), True)]
    assert sorted(kinds) == ["firewall", "network", "network", "network", "network"]


def test_a_network_is_found_again_without_writing(tenancy: Tenancy) -> None:
    """A second client only reads."""
    networks(tenancy.provider).ensure(REGION, HERE)
    before = tenancy.world.log.counts()["oci"]
    networks(tenancy.another()).ensure(REGION, HERE)
    after = tenancy.world.log.counts()["oci"]
    changed = {op for op in after if after[op] != before.get(op, 0)}
    assert all(op.startswith(("list_", "get_")) for op in changed)


def test_only_the_caller_may_come_in(tenancy: Tenancy) -> None:
    """The group admits the caller's network to the SSH port; the subnet's list admits nobody, and
    the default one, open to the world, is not used."""
    place = networks(tenancy.provider).ensure(REGION, HERE)
    client = tenancy.provider._account.client("network")
    rules = client.list_network_security_group_security_rules(place.groups[0]).data
    inward = [one for one in rules if one.direction == "INGRESS"]
    assert [(one.source, one.protocol) for one in inward] == [("203.0.113.7/32", "6")]
    ports = inward[0].tcp_options.destination_port_range
    assert (ports.min, ports.max) == (22, 22)
    subnet = client.get_subnet(place.subnet).data
    vcn = client.get_vcn(subnet.vcn_id).data
    assert vcn.default_security_list_id not in subnet.security_list_ids
    (own,) = [client.get_security_list(one).data for one in subnet.security_list_ids]
    assert [one.protocol for one in own.ingress_security_rules] == ["1"]


def test_a_caller_that_moved_is_let_in_in_its_old_places_stead(tenancy: Tenancy) -> None:
    """The new address is let in, and where the caller was before nobody is; a rule that somebody
    else has added stays."""
    there = HERE._replace(networks=("198.51.100.9/32",))
    place = networks(tenancy.provider).ensure(REGION, HERE)
    client = tenancy.provider._account.client("network")
    theirs = {
        "direction": "INGRESS", "protocol": "6", "source": "192.0.2.0/24",
        "sourceType": "CIDR_BLOCK", "tcpOptions": {"destinationPortRange": {"min": 22, "max": 22}},
    }  # fmt: skip
    client.add_network_security_group_security_rules(place.groups[0], {"securityRules": [theirs]})
    moved = networks(tenancy.provider)
    assert moved.admit(REGION, there)
    assert not moved.admit(REGION, there)
    assert _sources(tenancy, place.groups[0]) == {"192.0.2.0/24", "198.51.100.9/32"}


def test_each_installation_has_its_own_network(tenancy: Tenancy) -> None:
    """Another owner's network is neither used nor changed."""
    mine = networks(tenancy.provider).ensure(REGION, HERE)
    theirs = networks(tenancy.provider).ensure(REGION, HERE._replace(owner="own-other"))
    assert mine.subnet != theirs.subnet


def test_a_caller_without_ipv4_is_told(tenancy: Tenancy) -> None:
    """The network has IPv4 only: an IPv6 caller gets an error, not a machine it cannot reach."""
    with pytest.raises(BadRequestError) as caught:
        tenancy.another(ingress="2001:db8::1/128").launch(request())
    assert "ingress" in caught.value.hints[0]
    assert not tenancy.calls("launch_instance")


def test_without_a_public_address_the_network_is_the_users(tenancy: Tenancy) -> None:
    """A jump host reaches no machine in the network that byoc makes: nothing is asked for."""
    with pytest.raises(BadRequestError) as caught:
        tenancy.provider.launch(request()._replace(public=False))
    assert "oci.subnet" in caught.value.hints[0]
    assert not tenancy.calls("launch_instance")


def test_a_subnet_of_the_settings_is_used_as_it_is(
    tenancy: Tenancy, tenancy_with: MakeTenancy
) -> None:
    """With ``oci.subnet`` no network is made and no rule is changed."""
    place = networks(tenancy.provider).ensure(REGION, HERE)
    writes = len(tenancy.calls("create_*")) + len(tenancy.calls("add_*"))
    made = tenancy.another(subnet=place.subnet).launch(request())
    assert tenancy.running(made.id).address
    assert len(tenancy.calls("create_*")) + len(tenancy.calls("add_*")) == writes


def test_a_network_in_use_stays_and_goes_with_all_its_parts_afterwards(tenancy: Tenancy) -> None:
    """Removing it while a machine is in it is refused as transient; then it leaves nothing."""
    made = tenancy.provider.launch(request(offer(zone=ZONES[2])))
    (vcn,) = [
        one
        for one in tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), everything=True)
        if one.id.startswith("ocid1.vcn.")
    ]
    tenancy.running(made.id)
    with pytest.raises(TransientError):
        tenancy.provider.terminate(vcn.id)
    tenancy.provider.terminate(made.id)
    tenancy.gone(made.id)
    tenancy.provider.terminate(vcn.id)
    tenancy.provider.terminate(vcn.id)
    assert tenancy.provider.get(vcn.id).state == "gone"
    assert tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), everything=True) == []


def test_parts_can_be_removed_in_any_order_that_lists_give(tenancy: Tenancy) -> None:
    """Ending each thing of the list in its order leaves nothing."""
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    for one in tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), everything=True):
        if one.kind == "instance":
            tenancy.provider.terminate(one.id)
            until(lambda one=one: tenancy.provider.get(one.id).state == "gone")  # type: ignore[misc]
        else:
            tenancy.provider.terminate(one.id)
    assert tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), everything=True) == []


def _sources(tenancy: Tenancy, group: str) -> set[str]:
    client = tenancy.provider._account.client("network")
    rules = client.list_network_security_group_security_rules(group).data
    return {one.source for one in rules if one.direction == "INGRESS"}
