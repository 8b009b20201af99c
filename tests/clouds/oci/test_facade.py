"""The emulated tenancy itself, seen by Oracle's SDK: strict where the real one is."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oci
import pytest

from byoc.emulator.oci import schema, shapes
from byoc.emulator.oci.signing import Request, verify
from byoc.errors import TransientError
from byoc.pricing import catalog
from tests.clouds.oci.conftest import REGION, ZONES, MakeTenancy, Tenancy, request
from tests.helpers import ROOT, until
from tools import make_oci_schema


def _client(tenancy: Tenancy, kind: Any = oci.core.ComputeClient) -> Any:
    config = oci.config.from_file(tenancy.cloud.environ["OCI_CONFIG_FILE"])
    return kind(
        config,
        service_endpoint=tenancy.facade.address,
        retry_strategy=oci.retry.NoneRetryStrategy(),
    )


def _refused(ask: Callable[[], Any]) -> tuple[int, str, str]:
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        ask()
    assert caught.value.request_id
    return caught.value.status, caught.value.code, caught.value.message


def test_the_packaged_description_is_the_installed_sdks() -> None:
    """schema.json is what the tool makes of the SDK that is installed."""
    packaged = json.loads((ROOT / "src/byoc/emulator/oci/schema.json").read_text())
    made = json.loads(json.dumps(make_oci_schema.build()))
    for part in ("operations", "models"):
        assert packaged[part] == made[part], "run tools/make_oci_schema.py"
    assert packaged["routes"] == made["routes"], "run tools/make_oci_schema.py"


def test_an_operation_that_is_not_emulated_is_named(tenancy: Tenancy) -> None:
    """A real one answers 501 with its name, an invented path 404."""
    client = _client(tenancy)
    status, _, message = _refused(lambda: client.list_dedicated_vm_hosts("c"))
    assert status == 501 and "list_dedicated_vm_hosts" in message
    status, code, _ = _refused(
        lambda: client.base_client.call_api(resource_path="/nothing", method="GET")
    )
    assert (status, code) == (404, "NotFound")


def test_a_wrong_signature_is_refused(tenancy: Tenancy) -> None:
    """Each thing that a signature covers, changed: 401."""
    seen: list[Request] = []
    service = tenancy.facade._service
    answer = service.answer
    service.answer = lambda asked: (seen.append(asked), answer(asked))[1]  # type: ignore[method-assign]
    body = {"instanceId": "ocid1.instance.oc1.iad.x"}
    _refused(lambda: _client(tenancy).capture_console_history(body))
    (good,) = seen
    key, now = tenancy.facade._account.key_of, tenancy.world.wall()
    assert verify(good, key, now)
    changed = {
        "verb": good._replace(verb="PUT"),
        "path": good._replace(target=good.target + "x"),
        "body": good._replace(body=b'{"instanceId": "other"}'),
        "host": good._replace(headers={**good.headers, "host": "elsewhere"}),
        "signature": good._replace(headers={**good.headers, "authorization": "Signature x"}),
        "none": good._replace(headers={}),
    }
    for what, wrong in changed.items():
        with pytest.raises(Exception, match="NotAuthenticated"):
            verify(wrong, key, now)
        assert answer(wrong).status == 401, what
    for late in (now + 301, now - 301):
        with pytest.raises(Exception, match="skew"):
            verify(good, key, late)
    header = good.headers["authorization"]
    unsigned = header.replace("x-content-sha256", "").replace("content-type", "")
    with pytest.raises(Exception, match="NotAuthenticated"):
        verify(good._replace(headers={**good.headers, "authorization": unsigned}), key, now)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"nonsense": 1}, "CannotParseRequest"),
        ({"compartmentId": None}, "MissingParameter"),
        ({"displayName": 7}, "InvalidParameter"),
        ({"availabilityConfig": {"recoveryAction": "HOPE"}}, "InvalidParameter"),
        ({"sourceDetails": {"sourceType": "hope"}}, "InvalidParameter"),
        ({"sourceDetails": {"sourceType": "image"}}, "MissingParameter"),
        ({"freeformTags": {"a": 1}}, "InvalidParameter"),
        ({"metadata": {"user_data": "not base64!"}}, "InvalidParameter"),
        ({"metadata": {"user_data": "QUFB" * 8000}}, "InvalidParameter"),
        ({"shapeConfig": None}, "MissingParameter"),
        ({"shapeConfig": {"ocpus": 1.0, "memoryInGBs": 100.0}}, "InvalidParameter"),
        ({"availabilityDomain": "Uocm:MARS-AD-1"}, "InvalidParameter"),
        ({"shape": "VM.GPU.Z99.1"}, "NotAuthorizedOrNotFound"),
        ({"shape": None}, "MissingParameter"),
        ({"preemptibleInstanceConfig": {}}, "MissingParameter"),
        ({"preemptibleInstanceConfig": {"preemptionAction": {"type": "NAP"}}}, "InvalidParameter"),
    ],
)
def test_a_wrong_launch_is_refused(tenancy: Tenancy, change: dict[str, Any], code: str) -> None:
    """Unknown, missing, of the wrong kind, out of bounds: refused with OCI's code, nothing made."""
    tenancy.provider.launch(request())
    body = _body(tenancy)
    assert _refused(lambda: _client(tenancy).launch_instance({**body, **change}))[1] == code
    assert len(tenancy.facade._store.every("Instance")) == 1


@pytest.mark.parametrize("size", [49, 32_769])
def test_a_disk_out_of_bounds_is_refused(tenancy: Tenancy, size: int) -> None:
    """50 to 32,768 GB."""
    tenancy.provider.launch(request())
    body = _body(tenancy)
    body["sourceDetails"] = {**body["sourceDetails"], "bootVolumeSizeInGBs": size}
    status, code, message = _refused(lambda: _client(tenancy).launch_instance(body))
    assert (status, code) == (400, "InvalidParameter") and "50" in message


def test_a_repeated_token_shows_the_instance_as_it_is_now(tenancy: Tenancy) -> None:
    """Same token and body: the same instance. Another body: 409. No token: another instance."""
    tenancy.provider.launch(request())
    client, body = _client(tenancy), _body(tenancy)
    first = client.launch_instance(body, opc_retry_token="t1").data
    tenancy.running(first.id)
    again = client.launch_instance(body, opc_retry_token="t1").data
    assert (again.id, again.lifecycle_state) == (first.id, "RUNNING")
    other = {**body, "displayName": "other"}
    status, code, _ = _refused(lambda: client.launch_instance(other, opc_retry_token="t1"))
    assert (status, code) == (409, "InvalidatedRetryToken")
    assert client.launch_instance(body).data.id != first.id


@pytest.mark.parametrize("error", ["InternalError", "no-answer"])
def test_a_launch_that_was_not_done_frees_its_token(tenancy_with: MakeTenancy, error: str) -> None:
    """What was refused, or dropped unread, made nothing: the same token may be tried again."""
    tenancy = tenancy_with(
        f'[[fault]]\ncloud = "oci"\nop = "LaunchInstance"\nerror = "{error}"\ntimes = 1'
    )
    with pytest.raises(TransientError):
        tenancy.provider.launch(request())
    assert tenancy.provider.launch(request()).id


def test_the_refusals_of_the_tenancy_are_in_the_report(tenancy: Tenancy) -> None:
    """What the account's own rules refused is told to the world, like the scenario's faults."""
    tenancy.provider.launch(request())
    _refused(lambda: _client(tenancy).launch_instance({**_body(tenancy), "nonsense": 1}))
    (told,) = tenancy.world.log.refused()
    assert (told.op, told.refused, told.by) == ("launch_instance", "CannotParseRequest", "cloud")


def test_faults_may_name_operations_in_both_ways(tenancy_with: MakeTenancy) -> None:
    """``LaunchInstance`` and ``launch_instance``, matched by domain, type and market."""
    for op in ("LaunchInstance", "launch_instance"):
        tenancy = tenancy_with(
            f'[[fault]]\ncloud = "oci"\nop = "{op}"\nerror = "OutOfHostCapacity"\ntimes = -1\n'
            f'match = {{ zone = "*AD-1", type = "VM.Standard.E4.Flex:*", market = "on-demand" }}'
        )
        with pytest.raises(Exception, match="Out of host capacity"):
            tenancy.provider.launch(request())
        assert len(tenancy.calls(op)) == 1


def test_a_limit_is_told_and_enforced(tenancy_with: MakeTenancy) -> None:
    """Limits, their use and the launch agree with each other."""
    tenancy = tenancy_with('[[quota]]\ncloud = "oci"\nbucket = "standard-e4-core-count"\nlimit = 2')
    limits = _client(tenancy, oci.limits.LimitsClient)
    name, where = "standard-e4-core-count", tenancy.facade.tenancy
    tenancy.provider.launch(request())
    values = limits.list_limit_values(where, "compute", name=name).data
    assert [(one.value, one.availability_domain) for one in values] == [(2, z) for z in ZONES]
    seen = limits.get_resource_availability(
        "compute", name, where, availability_domain=ZONES[0]
    ).data
    assert (seen.used, seen.available) == (1, 1)
    body = {**_body(tenancy), "shapeConfig": {"ocpus": 2.0, "memoryInGBs": 16.0}}
    status, code, message = _refused(lambda: _client(tenancy).launch_instance(body))
    assert (status, code) == (400, "LimitExceeded") and name in message


def test_two_subnets_cannot_overlap_and_two_gateways_cannot_be(tenancy: Tenancy) -> None:
    """The network's own rules."""
    client, where = _client(tenancy, oci.core.VirtualNetworkClient), tenancy.facade.tenancy
    vcn = client.create_vcn({"compartmentId": where, "cidrBlocks": ["10.1.0.0/16"]}).data
    inside = {"compartmentId": where, "vcnId": vcn.id}
    client.create_subnet({**inside, "cidrBlock": "10.1.0.0/24"})
    assert (
        "overlaps"
        in _refused(lambda: client.create_subnet({**inside, "cidrBlock": "10.1.0.128/25"}))[2]
    )
    assert (
        "not within"
        in _refused(lambda: client.create_subnet({**inside, "cidrBlock": "10.2.0.0/24"}))[2]
    )
    client.create_internet_gateway({**inside, "isEnabled": True})
    again = {**inside, "isEnabled": True}
    assert _refused(lambda: client.create_internet_gateway(again))[1] == "LimitExceeded"
    assert _refused(lambda: client.delete_vcn(vcn.id))[1] == "Conflict"


def test_only_stopping_ends_a_bill_where_the_shape_says_so(tenancy: Tenancy) -> None:
    """A standard shape that is stopped by the API is not billed; a GPU shape of old is."""
    assert not shapes.shown(shapes.kinds()["VM.Standard.E4.Flex"])["isBilledForStoppedInstance"]
    assert shapes.shown(shapes.kinds()["BM.GPU.H100.8"])["isBilledForStoppedInstance"]
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    _client(tenancy).instance_action(made.id, "STOP")
    entry = tenancy.world.ledger.get("oci", made.id)
    assert entry is not None
    until(lambda: entry.since is None)


def test_keys_are_for_the_user_alone(tenancy: Tenancy) -> None:
    """Key and configuration have mode 0600."""
    config = Path(tenancy.cloud.environ["OCI_CONFIG_FILE"])
    for path in (config, config.with_name("oci.pem"), config.with_name("byoc.pem")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_region_of_the_catalogue_has_domains_and_shapes(tenancy: Tenancy) -> None:
    """Each subscribed region names its own domains and sells what the catalogue says."""
    account = tenancy.provider._account
    assert set(account.regions()) == set(catalog.regions("oci"))
    seen = set()
    for region in account.regions():
        client = account.client("identity", region)
        names = [one.name for one in client.list_availability_domains(account.tenancy).data]
        assert names and not seen & set(names)
        seen |= set(names)
    assert {kind.name for kind in shapes.sold(REGION)} <= set(shapes.kinds())


def test_a_wrong_answer_of_its_own_is_found() -> None:
    """The answers are held against the same description as the requests."""
    known = schema.load()
    operation = known.operations["get_vcn"]
    assert known.check_response(operation, {"id": "x"})
    assert known.check_response(operation, {"cidrBlock": 7, "nonsense": 1})
    listing = known.operations["list_vcns"]
    assert known.check_response(listing, {}) == ["list[Vcn]: expected an array"]
    assert known.check_query(listing, {"compartmentId": ["c"], "lifecycleState": ["HOPE"]})
    assert known.check_query(listing, {"nonsense": ["1"]})


def _body(tenancy: Tenancy) -> dict[str, Any]:
    """The body of the launch that the adapter has made here."""
    one = tenancy.facade._store.every("Instance")[-1]
    names = ("availabilityDomain", "compartmentId", "shape", "displayName", "freeformTags")
    return {
        **{name: one.body[name] for name in names},
        "sourceDetails": {"sourceType": "image", "imageId": one.body["imageId"]},
        "createVnicDetails": {"subnetId": one.notes["subnet"].id},
        "shapeConfig": {"ocpus": 1.0, "memoryInGBs": 8.0},
    }
