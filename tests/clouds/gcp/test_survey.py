"""Zones and quotas as Google tells them, and what ``byoc check`` finds."""

from __future__ import annotations

import pytest

from byoc.errors import AccessError, ThrottleError
from byoc.pricing import catalog
from byoc.providers.base import Draw, Finding, Quota
from byoc.providers.gcp import permissions, quotas
from byoc.providers.gcp.provider import GcpProvider
from tests.clouds.accounts import Account
from tests.clouds.gcp.conftest import Open, fault, offer, provider
from tests.helpers import until

REGION = "us-central1"
ALL_ZONES = tuple(f"{REGION}-{letter}" for letter in "abcf")
ALLOWED = "cloudresourcemanager.projects.testIamPermissions"


def _quota(bucket: str, limit: float) -> str:
    return f'[[quota]]\ncloud = "gcp"\nregion = "*"\nbucket = "{bucket}"\nlimit = {limit}\n'


def test_zones_are_those_that_sell_machine_and_gpu(gcp: Account) -> None:
    """All of a region's zones that have it; none for what the region lacks."""
    wanted = [offer("e2-medium"), offer("n1-standard-4+nvidia-tesla-t4x1")]
    stranger = wanted[0]._replace(type="x9-mega")
    far = wanted[0]._replace(type="n1-standard-4+nvidia-tesla-x1x1")
    zones = gcp.provider.survey(REGION, [*wanted, stranger, far]).zones
    assert zones == {
        "e2-medium": ALL_ZONES,
        "n1-standard-4+nvidia-tesla-t4x1": ALL_ZONES,
        "x9-mega": (),
        "n1-standard-4+nvidia-tesla-x1x1": (),
    }


def test_a_region_is_asked_by_its_zones_only(gcp: Account) -> None:
    """Surveying all of a region's offers takes a request for each zone and kind, and two more."""
    everything = [one for one in catalog.offers("gcp") if one.region == REGION]
    survey = gcp.provider.survey(REGION, everything)
    assert set(survey.zones) == {one.type for one in everything}
    assert gcp.requests("compute.regions.get") == gcp.requests("compute.projects.get") == 1
    assert gcp.requests("compute.machineTypes.list") <= 2 * len(ALL_ZONES)
    assert gcp.requests("compute.acceleratorTypes.list") == len(ALL_ZONES)


def test_quotas_tell_limit_and_use(project: Open) -> None:
    """What runs counts, in its own market's metric and in the one of all regions."""
    account = project(_quota("PREEMPTIBLE_NVIDIA_L4_GPUS", 4))
    gpu = offer("g2-standard-24", "spot")
    account.running(account.provider.launch(account.request(gpu)).id)
    survey = account.provider.survey(REGION, [gpu])
    told = {(quota.bucket, quota.region): quota for quota in survey.quotas}
    own = told["PREEMPTIBLE_NVIDIA_L4_GPUS", REGION]
    assert (own.limit, own.used, own.unit) == (4, 2, "GPU")
    assert told["NVIDIA_L4_GPUS", REGION].used == 0
    assert told["GPUS_ALL_REGIONS", ""].used == 2
    assert told["CPUS", REGION].unit == "vCPU"


def test_each_market_draws_on_its_own_metric(gcp: Account) -> None:
    """Spot GPUs have a metric of their own; all of them count in the project's."""
    spot, plain = offer("g2-standard-24", "spot"), offer("g2-standard-24")
    draws = gcp.provider.survey(REGION, [spot, plain]).draws
    assert draws[plain.type, "on-demand"][:2] == (
        Draw("NVIDIA_L4_GPUS", 2), Draw("GPUS_ALL_REGIONS", 2),
    )  # fmt: skip
    assert draws[spot.type, "spot"][0] == Draw("PREEMPTIBLE_NVIDIA_L4_GPUS", 2)


def test_what_is_not_told_is_not_zero(gcp: Account) -> None:
    """H100 has no metric on demand and the newest none at all: unknown, so nothing is drawn."""
    h100, b200 = offer("a3-highgpu-8g"), offer("a4-highgpu-8g", "spot")
    h100_spot = offer("a3-highgpu-8g", "spot")
    draws = gcp.provider.survey(REGION, [h100, h100_spot, b200]).draws
    assert draws[h100.type, "on-demand"] == (Draw("GPUS_ALL_REGIONS", 8),)
    assert draws[h100.type, "spot"][0] == Draw("PREEMPTIBLE_NVIDIA_H100_GPUS", 8)
    assert draws[b200.type, "spot"] == (Draw("GPUS_ALL_REGIONS", 8),)


@pytest.mark.parametrize(("limit", "bucket"), [(0, "N2_CPUS"), (64, "PREEMPTIBLE_CPUS")])
def test_spot_processors_have_a_metric_once_it_was_granted(limit: float, bucket: str) -> None:
    """Before that they count in the ordinary one."""
    told = [Quota("PREEMPTIBLE_CPUS", REGION, limit), Quota("N2_CPUS", REGION, 100.0)]
    assert quotas.draws(offer("n2-standard-8", "spot"), told) == (Draw(bucket, 8.0),)


def test_a_question_that_fails_is_told(project: Open) -> None:
    """Nothing is concluded from what was not answered; the rest is."""
    account = project(fault("forbidden", op="compute.projects.get", times=-1))
    survey = account.provider.survey(REGION, [offer("e2-medium")])
    assert isinstance(survey.failed["project"], AccessError)
    assert survey.zones["e2-medium"] == ALL_ZONES
    assert "GPUS_ALL_REGIONS" not in {quota.bucket for quota in survey.quotas}


def test_a_silent_zone_hides_no_type(project: Open) -> None:
    """A type that the other zones lack is not said to be unsold when one zone did not answer."""
    text = '[[fault]]\ncloud = "gcp"\nop = "compute.machineTypes.list"\nerror = "forbidden"\n'
    account = project(f'{text}times = -1\nmatch = {{ zone = "us-central1-b" }}\n')
    stranger = offer("e2-medium")._replace(type="x9-mega")
    survey = account.provider.survey(REGION, [offer("e2-medium"), stranger])
    assert survey.zones == {"e2-medium": ("us-central1-a", "us-central1-c", "us-central1-f")}
    assert set(survey.failed) == {"us-central1-b"}


def test_a_region_that_does_not_answer_leaves_all_open(project: Open) -> None:
    """Without the region's zones nothing is known, and nothing shut."""
    account = project(fault("rateLimitExceeded", op="compute.regions.get", times=-1))
    survey = account.provider.survey(REGION, [offer("e2-medium")])
    assert survey.zones == {} and isinstance(survey.failed["region"], ThrottleError)


# --- check ------------------------------------------------------------------------------------


def _findings(one: GcpProvider) -> dict[str, Finding]:
    return {finding.subject: finding for finding in one.check()}


def test_a_good_account_is_good(gcp: Account) -> None:
    """Everything is fine, but for what a machine without an account leaves behind."""
    found = _findings(provider(gcp))
    assert {name for name, finding in found.items() if finding.level != "ok"} == {"self-end"}
    assert "byoc@" in found["credentials"].message
    named = _findings(provider(gcp, service_account="vm@x"))
    assert {finding.level for finding in named.values()} == {"ok"}


def test_missing_permissions_are_named(project: Open) -> None:
    """A dry run tells which permissions the account lacks."""
    account = project(fault("denied", op=ALLOWED, message="compute.instances.create"))
    found = _findings(provider(account))["permissions"]
    assert found.level == "fail" and "compute.instances.create" in found.message
    assert "compute.instances.get" not in found.message
    assert "byoc iam gcp" in found.remedy


def test_an_api_that_is_off_is_named(project: Open) -> None:
    """What to run is in the remedy."""
    account = project(fault("SERVICE_DISABLED", op="compute.projects.get", times=-1))
    found = _findings(provider(account))
    assert found["api"].level == "fail"
    assert "gcloud services enable compute.googleapis.com" in found["api"].remedy


def test_a_missing_network_is_named(gcp: Account) -> None:
    """The command that makes it is in the remedy."""
    found = _findings(provider(gcp, network="lab"))["network"]
    assert (found.level, found.remedy) == (
        "fail", "Run: gcloud compute networks create lab --project=byoc-emulated",
    )  # fmt: skip


def test_no_quota_for_gpus_is_a_warning(project: Open) -> None:
    """A new account may hold no GPU at all."""
    account = project(_quota("GPUS_ALL_REGIONS", 0))
    found = _findings(provider(account))["quota"]
    assert found.level == "warn" and "quotas" in found.remedy


@pytest.mark.parametrize(("off", "level"), [(5.0, "ok"), (120.0, "warn"), (-900.0, "fail")])
def test_a_wrong_clock_is_found(gcp: Account, off: float, level: str) -> None:
    """More than a minute is a warning; more than five, and log-ins are refused."""

    class Wrong:
        def wall(self) -> float:
            return gcp.world.wall() + off

        def mono(self) -> float:
            return 0.0

        def sleep(self, seconds: float) -> None:
            raise AssertionError

    one = provider(gcp)
    one._clock = Wrong()
    found = _findings(one)["clock"]
    assert found.level == level and bool(found.remedy) is (level != "ok")


def test_the_role_is_what_is_used(gcp: Account) -> None:
    """A whole life of an instance asks for nothing that the permissions' table does not know."""
    one = provider(gcp)
    one.check()
    one.survey(REGION, [offer("n1-standard-4+nvidia-tesla-t4x1")])
    launched = one.launch(gcp.request(offer("e2-medium")))
    provider(gcp, ingress="203.0.113.7/32").launch(gcp.request(offer("e2-medium")))
    gcp.running(launched.id)
    one.console(launched.id)
    one.mark(launched.id, {"byoc-expires": "1800000000"})
    assert one.get("us-central1-a/byoc-none").state == "gone"
    for thing in one.list({}):
        one.terminate(thing.id)
    until(lambda: not one.list({}), 10)
    for thing in one.list({}, everything=True):  # a rule that keeps instances shut goes after them
        one.terminate(thing.id)
    until(lambda: not one.list({}, everything=True), 10)
    asked = {call.op for call in gcp.world.log.calls("gcp")}
    assert asked <= set(permissions.NEEDED)
    unasked = set(permissions.NEEDED) - asked
    assert unasked <= {
        "compute.images.get", "compute.disks.get", "compute.disks.delete", "compute.addresses.get",
        "compute.addresses.delete", "compute.firewalls.get", "compute.firewalls.patch",
    }  # fmt: skip
