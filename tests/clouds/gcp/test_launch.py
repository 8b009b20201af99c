"""What is sent to launch, that Google would take it, and what a repeat comes to."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import pytest

from byoc import limits
from byoc.emulator.gcp import discovery, rules
from byoc.errors import BadRequestError, NotOfferedError, TokenError, TransientError
from byoc.pricing import catalog
from byoc.providers.base import OWNER_TAG, TOKEN_TAG, LaunchRequest
from byoc.providers.gcp import body, images, network
from tests.clouds.accounts import Account
from tests.clouds.gcp.conftest import INSERT, ZONE, Open, fault, offer, provider, refusal
from tests.clouds.test_iam import foreigner
from tests.helpers import until
from tests.providers.world import new_key

KEY = new_key()
PLACES = {
    arch: body.Place(
        f"projects/ubuntu-os-cloud/global/images/{family}", 10, "global/networks/default", "", "t"
    )
    for arch, family in (("x86_64", "ubuntu-2204-lts"), ("arm64", "ubuntu-2204-lts-arm64"))
}
METHOD = discovery.load().match("POST", f"/compute/v1/projects/p/zones/{ZONE}/instances")


def _request(type: str, market: str = "on-demand", **more: Any) -> LaunchRequest:
    place = offer(type, market)
    usual = {"token": secrets.token_hex(16), "tags": {"byoc-run": "r"}, "boot_lease": 300.0}
    return LaunchRequest(
        **{**usual, "offer": place, "host_key": KEY, "authorized_key": KEY.public, **more}
    )


def _body(type: str, market: str = "on-demand", **more: Any) -> dict[str, Any]:
    request = _request(type, market, **more)
    place = PLACES[request.offer.arch]
    return body.make(request, place, body.end_script("", ""))


def test_every_offer_of_the_catalogue_makes_a_valid_body() -> None:
    """Each type, on each market it is sold on, passes Google's schema and its further rules."""
    assert METHOD is not None
    method = METHOD[0]
    checked = set()
    for found in catalog.offers("gcp"):
        if (found.type, found.market) in checked:
            continue
        checked.add((found.type, found.market))
        zone = f"{found.region}-b"
        request = LaunchRequest(
            secrets.token_hex(16), found._replace(zone=zone), {"byoc-price": "1.5"}, KEY,
            KEY.public, 300.0,
        )  # fmt: skip
        made = body.make(request, PLACES[found.arch], body.end_script("", ""))
        assert method.api.check_body(method, made) == []
        plan = rules.plan("p", zone, made)
        assert (plan.type, plan.market) == (found.type, found.market)
        assert plan.cards == found.gpu_count
    assert len(checked) > 100


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_google_itself_ends_every_instance(market: str) -> None:
    """A run limit with deletion is in each body, whatever else is."""
    told = _body("e2-medium", market)["scheduling"]
    assert told["maxRunDuration"] == {"seconds": str(int(limits.LIFETIME))}
    assert told["instanceTerminationAction"] == "DELETE"
    assert told["automaticRestart"] is False


@pytest.mark.parametrize(
    ("asked", "sent"), [(0.0, limits.LIFETIME), (1.0, 30), (90.2, 91), (1e9, 120 * 86400)]
)
def test_a_lifetime_is_kept_within_what_google_takes(asked: float, sent: float) -> None:
    """Thirty seconds to 120 days; nothing said means the usual lifetime."""
    told = _body("e2-medium", lifetime=asked)["scheduling"]["maxRunDuration"]
    assert told == {"seconds": str(int(sent))}


def test_only_spot_asks_for_a_warning() -> None:
    """Two minutes of notice, which Google refuses for what is not spot."""
    spot = _body("e2-medium", "spot")["scheduling"]
    assert spot["provisioningModel"] == "SPOT"
    assert spot["preemptionNoticeDuration"] == {"seconds": "120"}
    assert "preemptionNoticeDuration" not in _body("e2-medium")["scheduling"]


def test_a_gpu_is_attached_to_n1_and_part_of_others() -> None:
    """N1 names its accelerator; of other families it is in the type's own name."""
    (card,) = _body("n1-standard-4+nvidia-tesla-t4x1")["guestAccelerators"]
    assert card["acceleratorType"].endswith("/nvidia-tesla-t4") and card["acceleratorCount"] == 1
    assert "guestAccelerators" not in _body("g2-standard-4")
    assert _body("g2-standard-4")["scheduling"]["onHostMaintenance"] == "TERMINATE"


@pytest.mark.parametrize(
    ("type", "disk"),
    [("e2-medium", "pd-balanced"), ("g2-standard-4", "pd-balanced"),
     ("a3-highgpu-8g", "pd-balanced"), ("c4a-standard-2", "hyperdisk-balanced"),
     ("g4-standard-48", "hyperdisk-balanced"), ("a4-highgpu-8g", "hyperdisk-balanced")],
)  # fmt: skip
def test_families_get_a_disk_that_they_take(type: str, disk: str) -> None:
    """The newest families take hyperdisks only."""
    market = "spot" if type.startswith("a4") else "on-demand"
    told = _body(type, market)["disks"][0]["initializeParams"]["diskType"]
    assert told == f"zones/{ZONE}/diskTypes/{disk}"


@pytest.mark.parametrize(("asked", "gigabytes"), [(0, "30"), (100 * 1024, "100"), (100_001, "98")])
def test_the_disk_is_as_large_as_asked(asked: int, gigabytes: str) -> None:
    """MiB become whole GB, upwards, and never less than an environment needs."""
    assert _body("e2-medium", disk=asked)["disks"][0]["initializeParams"]["diskSizeGb"] == gigabytes


def test_the_disk_is_never_smaller_than_its_image() -> None:
    """The image's own size is the least."""
    request = _request("e2-medium")
    place = PLACES["x86_64"]._replace(image_size=50)
    made = body.make(request, place, body.end_script("", ""))
    assert made["disks"][0]["initializeParams"]["diskSizeGb"] == "50"


def test_instance_and_disk_carry_the_labels_from_the_start() -> None:
    """Tags are in the create call, of the instance and of its disk."""
    made = _body("e2-medium")
    assert made["labels"] == made["disks"][0]["initializeParams"]["labels"]
    assert made["labels"]["byoc-managed"] == "1" and made["labels"]["byoc-token"]


def test_nobody_else_gets_in() -> None:
    """No account, no keys of the project, no OS Login: the client's key in the boot data only."""
    made = _body("e2-medium")
    told = {item["key"]: item["value"] for item in made["metadata"]["items"]}
    assert "serviceAccounts" not in made
    assert told["block-project-ssh-keys"] == "TRUE" and told["enable-oslogin"] == "FALSE"
    assert told["user-data"].startswith("#cloud-config") and "ssh-keys" not in told


def test_a_service_account_is_given_only_when_named(gcp: Account) -> None:
    """With ``gcp.service_account`` the machine may delete itself, and says so."""
    email = "vm@byoc-emulated.iam.gserviceaccount.com"
    named = provider(gcp, service_account=email)
    assert named.traits.self_end == "gone" and gcp.provider.traits.self_end == "stopped"
    made = body.make(_request("e2-medium"), PLACES["x86_64"]._replace(account=email), "#!/bin/sh")
    assert made["serviceAccounts"] == [{"email": email, "scopes": body.SCOPES}]
    assert "serviceAccounts" not in body.end_script("http://x", "")
    assert "http://x/compute/v1" in body.end_script("http://x", email)


def test_the_same_token_is_the_same_request() -> None:
    """Name and request id follow from the token alone, and the id is never zero."""
    token = "ab" * 16
    assert body.name(token) == "byoc-" + token[:20]
    assert uuid.UUID(body.request_id(token)).hex == token
    assert uuid.UUID(body.request_id("0" * 32)).int != 0


def test_a_repeated_launch_makes_one_instance(gcp: Account) -> None:
    """The same token answers with the first instance, also when another process asks."""
    request = gcp.request(offer("e2-medium"))
    first = gcp.provider.launch(request)
    assert provider(gcp).launch(request).id == first.id
    gcp.running(first.id)
    assert gcp.provider.launch(request).state == "running"
    assert len(gcp.own()) == 1


def test_a_repeat_after_the_end_is_a_token_error(gcp: Account) -> None:
    """A token whose instance has ended makes no second one."""
    request = gcp.request(offer("e2-medium"))
    first = gcp.provider.launch(request)
    gcp.running(first.id)
    gcp.provider.terminate(first.id)
    gcp.ended(first.id)
    with pytest.raises(TokenError):
        gcp.provider.launch(request)


def test_a_repeat_of_a_failed_launch_fails_alike(project: Open) -> None:
    """The operation of the first request is the answer of the second."""
    account = project(fault("ZONE_RESOURCE_POOL_EXHAUSTED"))
    token = secrets.token_hex(16)
    first = refusal(account, offer("e2-medium"), token)
    again = refusal(account, offer("e2-medium"), token)
    assert (again.vendor_code, again.request_id) == (first.vendor_code, first.request_id)


def test_a_name_that_somebody_else_has_is_a_token_error(gcp: Account) -> None:
    """An instance of that name without our token is left alone."""
    mine = gcp.request(offer("e2-medium"))
    first = gcp.provider.launch(mine)
    other = mine._replace(token=mine.token[:20] + "f" * 12)
    with pytest.raises(TokenError) as caught:
        gcp.provider.launch(other)
    assert caught.value.vendor_code == "alreadyExists"
    gcp.running(first.id)


def test_a_lost_answer_is_asked_for_again(project: Open) -> None:
    """The second request meets the first one's instance by its name or request id."""
    account = project(fault("lost-reply"))
    request = account.request(offer("e2-medium"))
    with pytest.raises(Exception, match="Connection"):
        account.provider.launch(request)
    assert account.provider.launch(request).state in ("pending", "running")
    assert len({instance.id for instance in account.own()}) == 1


def test_a_stockout_costs_one_insert_each(project: Open) -> None:
    """Nothing repeats a refused launch: three zones, three inserts."""
    account = project(fault("ZONE_RESOURCE_POOL_EXHAUSTED", times=-1))
    for letter in "abc":
        refusal(account, offer("g2-standard-4", zone=f"us-central1-{letter}"))
    assert account.requests(INSERT) == 3


def test_a_launch_without_a_zone_is_given_one(gcp: Account) -> None:
    """Compute Engine does not choose one: the first that has the type is taken, and the same again
    for the same token."""
    request = gcp.request(offer("a2-highgpu-1g")._replace(zone=""))
    made = gcp.provider.launch(request)
    assert made.offer.zone == made.id.partition("/")[0] == "us-central1-a"
    assert gcp.provider.launch(request).id == made.id
    unsold = offer("a2-highgpu-1g")._replace(type="a2-highgpu-99g", zone="")
    with pytest.raises(NotOfferedError, match="us-central1"):
        gcp.provider.launch(gcp.request(unsold))


def test_a_region_that_cannot_be_asked_for_zones_is_left(project: Open) -> None:
    """Without a zone nothing is launched: what kept the region from telling is the error."""
    account = project(fault("backendError", op="compute.regions.get", times=-1))
    with pytest.raises(TransientError) as caught:
        account.provider.launch(account.request(offer("e2-medium")._replace(zone="")))
    assert caught.value.scope == "region"
    assert account.requests(INSERT) == 0


def test_network_and_image_are_prepared_once(gcp: Account) -> None:
    """The second launch asks for nothing but the instance."""
    gcp.provider.launch(gcp.request(offer("e2-medium")))
    before = gcp.requests()
    gcp.provider.launch(gcp.request(offer("e2-medium")))
    assert gcp.requests() == before + 1


def test_the_rule_admits_the_client_only(gcp: Account) -> None:
    """The firewall opens one port, to the networks of the settings, for the owner's instances."""
    one = provider(gcp, ingress="203.0.113.7/32,198.51.100.0/24", ssh_port="2222")
    one.launch(gcp.request(offer("e2-medium")))
    name = network.rule_name(gcp.owner)
    rule = one._google.call("firewalls", "get", project="byoc-emulated", firewall=name)
    assert list(rule.source_ranges) == ["203.0.113.7/32", "198.51.100.0/24"]
    assert [list(entry.ports) for entry in rule.allowed] == [["2222"]]
    assert list(rule.target_tags) == [name]


def test_a_client_that_moved_is_admitted_in_its_old_places_stead(gcp: Account) -> None:
    """The rule lets in where the client is now, and nobody where it was before."""
    here = provider(gcp, ingress="203.0.113.7/32")
    here.launch(gcp.request(offer("e2-medium")))
    there = provider(gcp, ingress="198.51.100.9/32")
    assert there.admit("us-central1", gcp.owner)
    assert not there.admit("us-central1", gcp.owner)
    name = network.rule_name(gcp.owner)
    rule = there._google.call("firewalls", "get", project="byoc-emulated", firewall=name)
    assert list(rule.source_ranges) == ["198.51.100.9/32"]


def test_networks_of_ipv6_have_a_rule_of_their_own(gcp: Account) -> None:
    """Google takes no rule with both kinds of networks: there are two, for the same instances."""
    one = provider(gcp, ingress="203.0.113.7/32,2001:db8::/64")
    one.launch(gcp.request(offer("e2-medium")))
    name = network.rule_name(gcp.owner)
    rules = [
        one._google.call("firewalls", "get", project="byoc-emulated", firewall=each)
        for each in (name, name + network.SIX)
    ]
    assert [list(rule.source_ranges) for rule in rules] == [["203.0.113.7/32"], ["2001:db8::/64"]]
    assert [list(rule.target_tags) for rule in rules] == [[name], [name]]


def test_a_network_that_is_missing_is_said(gcp: Account) -> None:
    """The setting names a network that the project lacks: what to do is in the hint."""
    with pytest.raises(BadRequestError) as caught:
        provider(gcp, network="projects/byoc-emulated/global/networks/none").launch(
            gcp.request(offer("e2-medium"))
        )
    assert caught.value.scope == "cloud" and "gcp.network" in caught.value.hints[0]


def test_gpu_types_boot_from_an_image_with_a_driver(gcp: Account) -> None:
    """GPU offers look for NVIDIA's driver, others for plain Ubuntu, both for their processor."""
    assert all("nvidia" in family for _, family in images.candidates(offer("g2-standard-4")))
    assert images.candidates(offer("e2-medium"))[0] == ("ubuntu-os-cloud", "ubuntu-2204-lts")
    assert "arm64" in images.candidates(offer("c4a-standard-2"))[0][1]
    launched = gcp.provider.launch(gcp.request(offer("c4a-standard-2")))
    assert gcp.running(launched.id).offer.arch == "arm64"


def test_a_retired_family_is_passed_over(project: Open) -> None:
    """The next family is asked for when one does not exist any more."""
    account = project(fault("notFound", op="compute.images.getFromFamily"))
    launched = account.provider.launch(account.request(offer("e2-medium")))
    account.running(launched.id)
    assert account.requests("compute.images.getFromFamily") == 2


@pytest.mark.parametrize(
    "given",
    ["projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64",
     "projects/ubuntu-os-cloud/global/images/ubuntu-2404-amd64-v20261101"],
)  # fmt: skip
def test_an_image_can_be_named(gcp: Account, given: str) -> None:
    """``gcp.image`` takes a family or one version."""
    one = provider(gcp, image=given)
    launched = one.launch(gcp.request(offer("e2-medium")))
    until(lambda: one.get(launched.id).state == "running")


@pytest.mark.parametrize("given", ["ubuntu", "projects/p/global/images/family/none"])
def test_an_image_that_is_none_is_said(gcp: Account, given: str) -> None:
    """A wrong setting is named, before anything is launched."""
    with pytest.raises(BadRequestError) as caught:
        provider(gcp, image=given).launch(gcp.request(offer("e2-medium")))
    assert caught.value.hints and gcp.requests(INSERT) == 0


def test_without_the_notice_when_google_refuses_it(project: Open) -> None:
    """A project that may not ask for the notice gets spot instances all the same."""
    said = "Invalid value for field 'resource.scheduling.preemptionNoticeDuration': not allowed."
    account = project(fault("invalid") + f'message = "{said}"\n')
    request = account.request(offer("e2-medium", "spot"))
    with pytest.raises(TransientError):
        account.provider.launch(request)
    launched = account.provider.launch(request)
    account.running(launched.id)
    google = provider(account)._google
    raw = google.call(
        "instances", "get", project=google.project, zone=ZONE, instance=body.name(request.token)
    )
    assert raw.scheduling.provisioning_model == "SPOT"
    assert not raw.scheduling.preemption_notice_duration.seconds


def test_a_rule_that_was_removed_is_made_again(gcp: Account) -> None:
    """Whoever removes the firewall rule does not shut out the next launch."""
    gcp.provider.launch(gcp.request(offer("e2-medium")))
    found = [thing for thing in gcp.own(everything=True) if thing.kind == "firewall"]
    (rule,) = [thing for thing in found if not thing.id.endswith(network.SHUT)]
    gcp.provider.terminate(rule.id)
    until(lambda: gcp.provider.get(rule.id).state == "gone")
    gcp.provider.launch(gcp.request(offer("e2-medium")))
    assert gcp.provider.get(rule.id).state == "running"


def test_a_label_put_on_by_hand_keeps_no_rule(gcp: Account) -> None:
    """The rule that shuts the world out stays for machines behind it, which carry its network tag;
    one that somebody gave an owner's labels is not, and does not keep the rule for ever."""
    launched = gcp.provider.launch(gcp.request(offer("e2-medium")))
    owner = gcp.administrator()
    foreign = foreigner(gcp)
    owner.provider.mark(foreign, {OWNER_TAG: gcp.owner, TOKEN_TAG: "f" * 32})
    (shut,) = [one for one in gcp.own(everything=True) if one.id.endswith(network.SHUT)]
    with pytest.raises(TransientError):
        gcp.provider.terminate(shut.id)
    gcp.provider.terminate(launched.id)
    gcp.ended(launched.id)
    gcp.provider.terminate(shut.id)
    until(lambda: gcp.provider.get(shut.id).state == "gone")
    owner.provider.terminate(foreign)
