"""Launching on OCI: what is asked for, once, and what becomes of it."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from byoc.errors import (
    BadRequestError,
    CapacityError,
    NotOfferedError,
    QuotaError,
    TokenError,
    TransientError,
)
from byoc.pricing import catalog
from byoc.providers.base import OWNER_TAG, RUN_TAG, TOKEN_TAG
from byoc.providers.oci.images import Image
from byoc.providers.oci.launch import details, disk
from byoc.providers.oci.network import Place
from byoc.providers.oci.shapes import parse, type_of
from byoc.resources import Offer
from tests.clouds.oci.conftest import CPU, GPU, OWNER, REGION, ZONES, MakeTenancy, Tenancy
from tests.clouds.oci.conftest import offer as an_offer
from tests.clouds.oci.conftest import request as a_request
from tests.helpers import until

IMAGE = Image("ocid1.image.oc1..x", "Canonical-Ubuntu-24.04-2026.10.30-0", 47)
PLACE = Place("ocid1.subnet.oc1.iad.x", ("ocid1.networksecuritygroup.oc1.iad.x",))


def test_the_body_says_all_that_keeps_an_instance_cheap_and_safe() -> None:
    """Tags on instance and card, a public address, the group, version 2 of the metadata service
    only, no revival after a host's failure, the boot data in base64."""
    body = details(a_request(disk=100 * 1024), "ocid1.tenancy.x", IMAGE, PLACE, "#cloud-config\n")
    tags = {
        OWNER_TAG: OWNER, RUN_TAG: "run-1", TOKEN_TAG: "a" * 32, "byoc-price": "0.037",
        "byoc-managed": "1",
    }  # fmt: skip
    assert body["freeformTags"] == body["createVnicDetails"]["freeformTags"] == tags
    assert body["createVnicDetails"]["assignPublicIp"] is True
    assert body["createVnicDetails"]["nsgIds"] == list(PLACE.groups)
    assert body["instanceOptions"] == {"areLegacyImdsEndpointsDisabled": True}
    assert body["availabilityConfig"] == {"recoveryAction": "STOP_INSTANCE"}
    assert body["sourceDetails"]["bootVolumeSizeInGBs"] == 100
    assert body["shapeConfig"] == {"ocpus": 1.0, "memoryInGBs": 8.0}
    assert base64.b64decode(body["metadata"]["user_data"]) == b"#cloud-config\n"
    assert "preemptibleInstanceConfig" not in body


def test_a_preemptible_one_leaves_no_boot_volume() -> None:
    """The preemption action is to terminate, boot volume included."""
    body = details(a_request(an_offer(market="spot")), "c", IMAGE, PLACE, "x")
    action = body["preemptibleInstanceConfig"]["preemptionAction"]
    assert action == {"type": "TERMINATE", "preserveBootVolume": False}


@pytest.mark.parametrize(
    ("wanted", "image", "size"), [(0, 47, 50), (0, 120, 120), (60 * 1024, 47, 60), (1, 47, 50)]
)
def test_a_boot_volume_is_never_below_what_it_must_be(wanted: int, image: int, size: int) -> None:
    """At least 50 GB, the image's own size, and what was asked for."""
    assert disk(wanted, IMAGE._replace(size=image)) == size


def test_names_of_flexible_shapes_hold_their_size() -> None:
    """``VM.Standard.E4.Flex:2o-16g`` is 2 OCPUs and 16 GB, there and back."""
    shape = parse("VM.Standard.E4.Flex:2o-16g")
    assert shape == ("VM.Standard.E4.Flex", 2.0, 16.0) and shape.flexible
    assert type_of(*shape) == "VM.Standard.E4.Flex:2o-16g"
    assert parse(GPU) == (GPU, 0.0, 0.0) and type_of(GPU, 15.0, 240.0) == GPU
    assert parse("BM.GPU.H100.8").bare_metal and not shape.bare_metal


def test_a_launched_instance_is_what_was_offered(tenancy: Tenancy) -> None:
    """Its offer, price, tags, address and user come back from the cloud alone."""
    asked = an_offer(CPU, "spot")
    made = tenancy.provider.launch(a_request(asked))
    assert (made.state, made.offer.zone, made.offer.market) == ("pending", ZONES[0], "spot")
    seen = tenancy.running(made.id)
    assert seen.offer == asked._replace(price=0.037)
    assert seen.tags[OWNER_TAG] == OWNER and seen.tags[TOKEN_TAG] == "a" * 32
    assert (seen.user, seen.port) == ("root", 22) and seen.address.startswith("127.")
    assert abs(seen.started - tenancy.world.wall()) < 60


@pytest.mark.parametrize("market", ["on-demand", "spot"])
def test_every_type_of_the_catalogue_is_accepted(tenancy: Tenancy, market: str) -> None:
    """The tenancy, which checks every field by the SDK's own description, takes each type on each
    market on which it is sold."""
    kinds = {
        one.type: one
        for one in catalog.offers("oci")
        if one.region == REGION and one.market == market
    }
    assert len(kinds) > 10
    for number, one in enumerate(kinds.values()):
        made = tenancy.provider.launch(
            a_request(one._replace(zone=ZONES[number % 3]), f"{market}-{number:020d}")
        )
        assert made.offer.type == one.type and made.offer.gpu == one.gpu
        tenancy.provider.terminate(made.id)


def test_a_repeat_of_the_token_is_the_same_instance(tenancy: Tenancy) -> None:
    """Eight launches at once under one token make one instance."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: tenancy.provider.launch(a_request()).id, range(8)))
    assert len(set(made)) == 1
    assert len(tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,))) == 1


def test_a_token_of_another_request_is_refused(tenancy: Tenancy) -> None:
    """The same token with another domain is a token error, and launches nothing."""
    tenancy.provider.launch(a_request())
    with pytest.raises(TokenError):
        tenancy.provider.launch(a_request(an_offer(zone=ZONES[1])))


def test_a_token_of_an_ended_instance_is_refused(tenancy: Tenancy) -> None:
    """OCI would give the dead instance again: that is told, and not taken for a new one."""
    made = tenancy.provider.launch(a_request())
    tenancy.provider.terminate(made.id)
    tenancy.gone(made.id)
    with pytest.raises(TokenError):
        tenancy.provider.launch(a_request())


def test_a_lost_answer_is_found_again_by_the_token(tenancy_with: MakeTenancy) -> None:
    """The connection drops after the launch was done: transient, and the repeat is that instance,
    not a second one."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "LaunchInstance"\nerror = "lost-reply"\ntimes = 1'
    )
    with pytest.raises(TransientError):
        tenancy.provider.launch(a_request())
    again = tenancy.provider.launch(a_request())
    assert [one.id for one in tenancy.provider.list({TOKEN_TAG: "a" * 32})] == [again.id]


def test_lost_answers_that_reads_do_not_show_yet(tenancy_with: MakeTenancy) -> None:
    """Two answers in a row are lost while reads lag behind: the third is of the same instance."""
    tenancy = tenancy_with(
        '[list]\noci = 600\n[[fault]]\ncloud = "oci"\nop = "LaunchInstance"\n'
        'error = "lost-reply"\ntimes = 2'
    )
    for _ in range(2):
        with pytest.raises(TransientError):
            tenancy.provider.launch(a_request())
    again = tenancy.provider.launch(a_request())
    assert [one.id for one in tenancy.world.ledger.all()] == [again.id]


def test_no_capacity_is_asked_once_and_for_one_domain(tenancy_with: MakeTenancy) -> None:
    """Out of host capacity in one domain is one request, and the next domain has the machine."""
    tenancy = tenancy_with(
        f'[[capacity]]\ncloud = "oci"\nzone = "{ZONES[0]}"\ntype = "VM.GPU.A10.1"\ncount = 0'
    )
    with pytest.raises(CapacityError) as caught:
        tenancy.provider.launch(a_request(an_offer(GPU)))
    assert caught.value.scope == "offer" and len(tenancy.calls("LaunchInstance")) == 1
    assert tenancy.provider.launch(a_request(an_offer(GPU, zone=ZONES[1]))).id


def test_a_limit_is_counted_in_its_own_unit(tenancy_with: MakeTenancy) -> None:
    """A limit of 2 GPUs holds one machine with two of them, and no more."""
    tenancy = tenancy_with('[[quota]]\ncloud = "oci"\nbucket = "gpu-a10-count"\nlimit = 2')
    tenancy.provider.launch(a_request(an_offer("VM.GPU.A10.2")))
    with pytest.raises(QuotaError) as caught:
        tenancy.provider.launch(a_request(an_offer(GPU), "b" * 32))
    assert (caught.value.scope, caught.value.bucket) == ("bucket", "gpu-a10-count")


def test_a_launch_that_fails_later_says_why(tenancy_with: MakeTenancy) -> None:
    """Accepted, then terminated: the failed work request has the reason, which is classified."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "LaunchInstance"\nerror = "WorkRequestFailed"'
    )
    made = tenancy.provider.launch(a_request())
    assert made.state == "pending"
    ended = tenancy.gone(made.id)
    assert isinstance(ended.failure, CapacityError) and ended.failure.scope == "offer"
    assert "capacity" in ended.detail and ended.failure.request_id


def test_a_reclaimed_instance_says_so(tenancy: Tenancy) -> None:
    """A preemptible one that nobody terminated was reclaimed: that is remembered as no capacity."""
    made = tenancy.provider.launch(a_request(an_offer(market="spot")))
    tenancy.running(made.id)
    tenancy.facade.preempt(made.id, 0)
    ended = tenancy.gone(made.id)
    assert isinstance(ended.failure, CapacityError) and "reclaimed" in ended.detail


def test_one_that_was_terminated_has_no_failure(tenancy: Tenancy) -> None:
    """Its end was asked for."""
    made = tenancy.provider.launch(a_request(an_offer(market="spot")))
    tenancy.running(made.id)
    tenancy.provider.terminate(made.id)
    assert tenancy.gone(made.id).failure is None


def test_a_machine_that_shuts_down_is_still_billed(tenancy: Tenancy) -> None:
    """It is not gone, it is billed, and its detail says what to do about it."""
    made = tenancy.provider.launch(a_request())
    tenancy.running(made.id)
    tenancy.world.off(("oci", made.id), "shutdown")
    seen = until(lambda: _detailed(tenancy, made.id))
    assert "billed until it is terminated" in seen
    assert tenancy.provider.get(made.id).state == "running"
    entry = tenancy.world.ledger.get("oci", made.id)
    assert entry is not None and entry in tenancy.world.ledger.alive()


def test_an_offer_without_a_domain_gets_one_with_room(tenancy_with: MakeTenancy) -> None:
    """OCI does not choose: byoc asks where there is capacity, and a repeat goes to the same."""
    tenancy = tenancy_with(
        f'[[capacity]]\ncloud = "oci"\nzone = "{ZONES[0]}"\ntype = "VM.GPU.A10.1"\ncount = 0'
    )
    made = tenancy.provider.launch(a_request(an_offer(GPU, zone="")))
    assert made.offer.zone == ZONES[1]
    assert tenancy.provider.launch(a_request(an_offer(GPU, zone=""))).id == made.id


def test_an_offer_without_a_domain_is_tried_without_a_report(tenancy_with: MakeTenancy) -> None:
    """Where the report is not allowed the first domain is tried."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "CreateComputeCapacityReport"\nerror = "NotAuthorized"'
    )
    assert tenancy.provider.launch(a_request(an_offer(GPU, zone=""))).offer.zone == ZONES[0]


def test_a_preemptible_bare_metal_machine_is_not_sold(tenancy: Tenancy) -> None:
    """OCI's words for it become an offer that is not sold, with what to do."""
    wanted = an_offer("BM.GPU.H100.8")._replace(market="spot")
    with pytest.raises(NotOfferedError) as caught:
        tenancy.provider.launch(a_request(wanted))
    assert caught.value.scope == "offer" and "on-demand" in caught.value.hints[0]


def test_the_images_are_those_that_boot(tenancy: Tenancy) -> None:
    """Oracle Linux 9 with the driver for GPUs, plain Ubuntu for others, of the right kind."""
    found = {
        one.type: tenancy.provider._images.find(one).name
        for one in (_sold(GPU), _sold("BM.GPU.GB200.4"), _sold(CPU), _sold(_ARM))
    }
    assert found == {
        GPU: "Oracle-Linux-9.6-Gen2-GPU-2026.10.31-0",
        "BM.GPU.GB200.4": "Oracle-Linux-9.6-Gen2-GPU-aarch64-2026.10.31-0",
        CPU: "Canonical-Ubuntu-24.04-2026.10.30-0",
        _ARM: "Canonical-Ubuntu-24.04-aarch64-2026.10.30-0",
    }


def test_an_image_of_the_settings_is_taken(tenancy: Tenancy, tenancy_with: MakeTenancy) -> None:
    """The setting ``oci.image`` names one by its OCID; one that is wrong for the shape is told."""
    named = tenancy.provider._images.find(_sold(CPU))
    other = tenancy.another(image=named.id)
    assert other.launch(a_request()).id
    with pytest.raises(BadRequestError) as caught:
        other.launch(a_request(_sold("VM.Standard.A1.Flex:2o-12g"), "c" * 32))
    assert "oci.image" in caught.value.hints[0]


def test_boot_data_stays_far_below_the_limit(tenancy: Tenancy) -> None:
    """The document with its end script is below 8 KiB, of the 32,000 bytes that OCI takes."""
    made = tenancy.provider.launch(a_request())
    raw = tenancy.provider._account.client("compute").get_instance(made.id).data
    data = base64.b64decode(raw.metadata["user_data"])
    assert data.startswith(b"#cloud-config\n") and len(data) < 8 * 1024
    json.loads(data.partition(b"\n")[2])


def _sold(type: str) -> Offer:
    return an_offer(type)


_ARM = "VM.Standard.A1.Flex:2o-12g"


def _detailed(tenancy: Tenancy, id: str) -> str:
    detail = tenancy.provider.get(id).detail
    return detail if "billed" in detail else ""
