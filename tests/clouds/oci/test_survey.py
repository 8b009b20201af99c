"""What OCI says of offers, and what `byoc check` says of OCI."""

from __future__ import annotations

import pytest

from byoc.errors import AccessError
from byoc.providers.base import Draw, Finding
from byoc.providers.oci import permissions
from byoc.providers.oci.check import Checker
from byoc.resources import Offer
from tests.clouds.oci.conftest import CPU, GPU, REGION, ZONES, MakeTenancy, Tenancy, offer, request
from tests.clouds.oci.test_network import Later

ABSENT = '[[fault]]\ncloud = "oci"\nop = "{op}"\nerror = "NotAuthorizedOrNotFound"\ntimes = -1\n'


def _offers(*types: str, market: str = "on-demand") -> list[Offer]:
    return [offer(one, market, zone="") for one in types]


def test_a_survey_tells_domains_limits_use_and_capacity(tenancy_with: MakeTenancy) -> None:
    """All of it for each availability domain, as one instance more or less is in use."""
    tenancy = tenancy_with(
        '[[quota]]\ncloud = "oci"\nbucket = "gpu-a10-count"\nlimit = 3\n'
        f'[[capacity]]\ncloud = "oci"\nzone = "{ZONES[1]}"\ntype = "VM.GPU.A10.1"\ncount = 0'
    )
    tenancy.provider.launch(request(offer("VM.GPU.A10.2")))
    found = tenancy.provider.survey(REGION, _offers(GPU, CPU) + _offers(CPU, market="spot"))
    assert found.zones == {GPU: ZONES, CPU: ZONES} and found.failed == {}
    quotas = {(one.bucket, one.zone): (one.limit, one.used, one.unit) for one in found.quotas}
    assert quotas["gpu-a10-count", ZONES[0]] == (3, 2, "GPU")
    assert quotas["gpu-a10-count", ZONES[1]] == (3, 0, "GPU")
    assert quotas["standard-e4-core-count", ZONES[2]][2] == "core"
    assert quotas["standard-e4-memory-count", ZONES[2]][2] == "GB"
    assert found.draws[GPU, "on-demand"] == (Draw("gpu-a10-count", 1.0),)
    size = (Draw("standard-e4-core-count", 1.0), Draw("standard-e4-memory-count", 8.0))
    assert found.draws[CPU, "on-demand"] == found.draws[CPU, "spot"] == size
    assert [found.capacity[GPU, zone, "on-demand"] for zone in ZONES] == [True, False, True]
    assert found.capacity[CPU, ZONES[0], "spot"] is True


def test_a_type_that_is_not_sold_has_no_domains(tenancy: Tenancy) -> None:
    """What no domain lists is sold nowhere there."""
    unknown = offer(GPU, zone="")._replace(type="VM.GPU.Z99.1")
    found = tenancy.provider.survey(REGION, [unknown, *_offers(CPU)])
    assert found.zones == {"VM.GPU.Z99.1": (), CPU: ZONES}
    assert not any(key[0] == "VM.GPU.Z99.1" for key in found.capacity)


def test_a_limit_of_nothing_is_not_asked_about(tenancy_with: MakeTenancy) -> None:
    """New tenancies have no GPUs: nothing of them is used, which needs no question."""
    tenancy = tenancy_with('[[quota]]\ncloud = "oci"\nbucket = "gpu-*"\nlimit = 0')
    found = tenancy.provider.survey(REGION, _offers(GPU))
    assert {(one.limit, one.used) for one in found.quotas} == {(0.0, 0.0)}
    assert tenancy.calls("GetResourceAvailability") == []


def test_more_shapes_than_a_report_takes_are_asked_in_parts(tenancy: Tenancy) -> None:
    """A report has ten shapes at most."""
    types = {one.type: one for one in tenancy.provider.offers() if one.region == REGION}
    found = tenancy.provider.survey(REGION, list(types.values()))
    parts = -(-len(types) // 10)
    assert len(tenancy.calls("CreateComputeCapacityReport")) == parts * len(ZONES)
    assert found.failed == {} and len(found.zones) == len(types)


def test_a_question_that_fails_is_told_and_the_others_are_not_lost(
    tenancy_with: MakeTenancy,
) -> None:
    """Without the right to a capacity report, domains and limits are known all the same."""
    tenancy = tenancy_with(ABSENT.format(op="CreateComputeCapacityReport"))
    found = tenancy.provider.survey(REGION, _offers(GPU))
    assert list(found.failed) == ["capacity"] and found.capacity == {}
    assert found.zones == {GPU: ZONES} and found.quotas


def test_domains_that_did_not_answer_are_not_taken_for_empty(tenancy_with: MakeTenancy) -> None:
    """A domain whose shapes are not known may sell a type, and is tried; what it is known not to
    have is still left out."""
    tenancy = tenancy_with(ABSENT.format(op="ListShapes") + f'match = {{ zone = "{ZONES[1]}" }}\n')
    nowhere = offer(GPU, zone="")._replace(type="VM.GPU.Z99.1")
    found = tenancy.provider.survey(REGION, [nowhere, *_offers(GPU)])
    assert found.zones == {GPU: ZONES, "VM.GPU.Z99.1": ()}
    assert list(found.failed) == ["zones"]


def test_a_region_without_subscription_is_an_access_error(tenancy: Tenancy) -> None:
    """OCI would answer there as if the key were wrong: it is told apart beforehand."""
    with pytest.raises(AccessError) as caught:
        tenancy.provider.survey("mars-north-1", _offers(GPU))
    assert caught.value.scope == "region" and "mars-north-1" in caught.value.hints[0]
    there = offer()._replace(region="mars-north-1", zone="Uocm:MARS-AD-1")
    with pytest.raises(AccessError):
        tenancy.provider.launch(request(there))


# --- check --------------------------------------------------------------------------------------


def _found(findings: list[Finding], subject: str) -> Finding:
    return next(one for one in findings if one.subject == subject)


def test_a_good_tenancy_has_one_finding_to_mend(tenancy: Tenancy) -> None:
    """All is well but that machines may not end themselves, with the commands that change it."""
    findings = tenancy.provider.check()
    assert [one.subject for one in findings if one.level != "ok"] == ["self-end"]
    told = _found(findings, "self-end")
    assert told.level == "warn" and "bills" in told.message
    assert "oci iam dynamic-group create" in told.remedy
    assert "oci iam policy create" in told.remedy
    assert tenancy.facade.tenancy in _found(findings, "credentials").message


def test_the_commands_of_the_remedy_make_the_finding_go(tenancy: Tenancy) -> None:
    """With the dynamic group and the policy that check names, machines may end themselves."""
    identity = tenancy.administrator().client("identity")
    compartment = tenancy.facade.tenancy
    identity.create_dynamic_group(
        {
            "compartmentId": compartment, "name": permissions.DYNAMIC_GROUP, "description": "byoc",
            "matchingRule": permissions.matching_rule(compartment),
        }
    )  # fmt: skip
    assert _found(tenancy.provider.check(), "self-end").level == "warn"
    identity.create_policy(
        {
            "compartmentId": compartment, "name": "byoc", "description": "byoc",
            "statements": list(permissions.machine_policy(compartment)),
        }
    )  # fmt: skip
    assert _found(tenancy.provider.check(), "self-end").level == "ok"


def test_findings_name_what_may_not_be_read(tenancy_with: MakeTenancy) -> None:
    """Each missing right is a finding of its own, with OCI's words, request and remedy."""
    tenancy = tenancy_with(ABSENT.format(op="ListVcns") + ABSENT.format(op="ListPolicies"))
    findings = tenancy.provider.check()
    missing = _found(findings, "permission to read networks")
    assert missing.level == "fail" and "request" in missing.message and missing.remedy
    assert _found(findings, "self-end").level == "warn"


def test_no_gpus_at_all_is_a_warning(tenancy_with: MakeTenancy) -> None:
    """A tenancy whose every GPU limit is nothing is told so before the first run."""
    tenancy = tenancy_with('[[quota]]\ncloud = "oci"\nbucket = "gpu*"\nlimit = 0')
    told = _found(tenancy.provider.check(), "limits")
    assert told.level == "warn" and "Limits" in told.remedy


@pytest.mark.parametrize(
    ("off", "level"), [(0, "ok"), (120, "warn"), (-120, "warn"), (400, "fail")]
)
def test_a_wrong_clock_is_found(tenancy: Tenancy, off: float, level: str) -> None:
    """More than a minute is told; more than five make OCI refuse everything."""
    account = tenancy.provider._account
    found = Checker(account, Later(tenancy.world.wall() + off)).run()
    assert _found(found, "clock").level == level


def test_bad_credentials_are_one_finding(tenancy_with: MakeTenancy) -> None:
    """Nothing else is asked when the key is refused; the remedy is a command."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "*"\nerror = "NotAuthenticated"\ntimes = -1'
    )
    findings = tenancy.provider.check()
    assert [one.subject for one in findings if one.level == "fail"] == ["credentials"]
    assert "oci session authenticate" in _found(findings, "credentials").remedy
    assert _found(findings, "clock").level == "ok"


def test_a_private_subnet_of_the_settings_is_found(tenancy: Tenancy) -> None:
    """Machines in it could not be reached."""
    account = tenancy.provider._account
    client = account.client("network")
    where = {"compartmentId": tenancy.facade.tenancy}
    vcn = client.create_vcn({**where, "cidrBlocks": ["10.0.0.0/16"]}).data
    body = {"vcnId": vcn.id, "cidrBlock": "10.0.0.0/24", "prohibitPublicIpOnVnic": True}
    subnet = client.create_subnet({**where, **body}).data
    told = _found(tenancy.another(subnet=subnet.id).check(), "network")
    assert told.level == "fail" and "BYOC_OCI_SUBNET" in told.remedy


# --- permissions --------------------------------------------------------------------------------


def test_the_documented_policy_covers_what_the_adapter_asks(tenancy: Tenancy) -> None:
    """A whole life of instances and networks uses no operation that the policy does not name."""
    provider = tenancy.provider
    provider.check()
    provider.survey(REGION, _offers(GPU))
    made = provider.launch(request())
    tenancy.running(made.id)
    provider.console(made.id)
    provider.terminate(made.id)
    tenancy.gone(made.id)
    for one in provider.list({}, (REGION,), everything=True):
        provider.terminate(one.id)
    used = set(tenancy.world.log.counts()["oci"])
    assert used <= set(permissions.OPERATIONS)
    grants = {grant for one in used for grant in permissions.OPERATIONS[one]}
    policy = " ".join(permissions.USER_POLICY)
    assert all(f" to {grant} in " in policy for grant in grants)


def test_a_question_that_keeps_failing_is_not_waited_for(tenancy_with: MakeTenancy) -> None:
    """A survey's questions are asked twice at most: a plan must not wait for one answer."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "ListLimitValues"\nerror = "InternalError"\ntimes = -1'
    )
    found = tenancy.provider.survey(REGION, _offers(GPU))
    assert list(found.failed) == ["quotas"] and found.capacity
    assert len(tenancy.calls("ListLimitValues")) == 2
