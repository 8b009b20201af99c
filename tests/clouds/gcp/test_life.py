"""What becomes of instances: states, ends, lists, and what is left behind."""

from __future__ import annotations

import threading

import pytest

from byoc.emulator.gcp import listing
from byoc.errors import CapacityError, TransientError
from byoc.providers.base import RUN_TAG, TOKEN_TAG
from byoc.providers.gcp import states
from tests.clouds.accounts import Account
from tests.clouds.gcp.conftest import Open, fault, offer, provider, refusal
from tests.helpers import until

LIST = "compute.instances.aggregatedList"


def test_an_instance_tells_all_of_itself(gcp: Account) -> None:
    """Offer, tags, address, user and start come back from the cloud alone."""
    wanted = offer("n1-standard-4+nvidia-tesla-t4x1", "spot")
    request = gcp.request(wanted)
    found = gcp.running(gcp.provider.launch(request).id)
    assert found.offer == wanted
    assert dict(request.tags).items() <= dict(found.tags).items()
    assert found.tags[TOKEN_TAG] == request.token
    assert (found.user, found.port) == ("root", 22) and found.address.startswith("127.")
    assert abs(found.started - gcp.world.wall()) < 30


def test_a_price_is_the_one_of_its_launch(gcp: Account) -> None:
    """The tag counts, not what the catalogue says today."""
    request = gcp.request(offer("e2-medium"))
    request = request._replace(tags={**request.tags, "byoc-price": "7.5"})
    launched = gcp.provider.launch(request)
    assert gcp.provider.get(launched.id).offer.price == 7.5


def test_pending_says_what_it_waits_for(project: Open) -> None:
    """The operation first, then the machine, then its address."""
    account = project("[boot]\ndelay = 0.4\naddress_delay = 0.4\n")
    launched = account.provider.launch(account.request(offer("e2-medium")))
    seen: dict[str, str] = {}

    def address() -> str:
        now = account.provider.get(launched.id)
        seen[now.detail] = now.state
        return now.address

    until(address, 10)
    assert seen["the insert operation is running"] == "pending"
    assert seen["no address yet"] == "running"


def test_a_failed_insert_is_gone_with_its_reason(project: Open) -> None:
    """What Google could not make is gone, with the class and words of its operation."""
    account = project(fault("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"))
    launched = account.provider.launch(account.request(offer("g2-standard-4")))
    assert launched.state == "pending"
    gone = account.ended(launched.id)
    assert isinstance(gone.failure, CapacityError) and "does not have enough" in gone.detail
    assert gone.failure.request_id.startswith("operation-")


def test_an_instance_that_was_never_there_has_no_reason(gcp: Account) -> None:
    """An unknown id is gone without detail."""
    gone = gcp.provider.get("us-central1-a/byoc-never")
    assert (gone.state, gone.detail, gone.failure) == ("gone", "", None)


def test_a_preempted_instance_says_so(gcp: Account) -> None:
    """A reclaimed one is gone, with a failure by which its zone is avoided for a while."""
    launched = gcp.provider.launch(gcp.request(offer("g2-standard-4", "spot")))
    gcp.running(launched.id)
    gcp.world.facades()[0].preempt(launched.id, 0.0)
    gone = gcp.ended(launched.id)
    assert isinstance(gone.failure, CapacityError)
    assert (gone.failure.scope, gone.failure.vendor_code) == ("offer", states.PREEMPTED)
    assert gone.failure.remember > 0


def test_a_machine_that_is_off_has_to_be_ended(project: Open) -> None:
    """A stopped instance is no more use and costs its disk: it is ``ending`` until deleted."""
    account = project('[[event]]\ncloud = "gcp"\nafter = "running"\naction = "kill"\n')
    launched = account.provider.launch(account.request(offer("e2-medium")))
    off = until(
        lambda: next((i for i in account.own() if "disk is still paid" in i.detail), None), 10
    )
    assert off.state == "ending" and account.provider.get(launched.id).failure is None
    account.provider.terminate(launched.id)
    assert account.ended(launched.id).detail == "ended by delete"


def test_the_run_limit_ends_it(gcp: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google deletes an instance at its run limit, whatever happens to anybody else."""
    monkeypatch.setattr("byoc.providers.gcp.body.RUN_LIMITS", (1, 120 * 86400))
    monkeypatch.setattr("byoc.emulator.gcp.rules.RUN_LIMITS", (1, 120 * 86400))
    request = gcp.request(offer("e2-medium"))._replace(lifetime=1.0)
    launched = gcp.provider.launch(request)
    assert "run limit" in gcp.ended(launched.id).detail


def test_an_ignored_end_is_seen(project: Open) -> None:
    """A delete that does nothing leaves the instance running, and is asked for again."""
    account = project(fault("ignore", op="compute.instances.delete"))
    launched = account.provider.launch(account.request(offer("e2-medium")))
    account.running(launched.id)
    account.provider.terminate(launched.id)
    assert account.provider.get(launched.id).state == "running"
    account.provider.terminate(launched.id)
    account.ended(launched.id)


def test_ending_twice_is_ending_once(gcp: Account) -> None:
    """Terminate succeeds on what is ending, gone, or was never there."""
    launched = gcp.provider.launch(gcp.request(offer("e2-medium")))
    for _ in range(2):
        gcp.provider.terminate(launched.id)
    gcp.ended(launched.id)
    for known in (launched.id, "us-central1-a/byoc-none", "nowhere-a/byoc-none", "no id at all"):
        gcp.provider.terminate(known)
    assert gcp.own() == []


def test_not_shown_yet_is_not_ended(project: Open) -> None:
    """A delete that meets nothing, because reads lag, is not taken for success."""
    account = project("[list]\nlag = 1.5\n")
    launched = account.provider.launch(account.request(offer("e2-medium")))
    with pytest.raises(TransientError):
        account.provider.terminate(launched.id)
    assert account.provider.get(launched.id).state == "pending"
    account.running(launched.id)


def test_a_list_is_read_to_its_last_page(gcp: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances of several zones and pages are all found, and no others."""
    monkeypatch.setattr(listing, "PAGE", 2)
    ids = set()
    for zone in ("us-central1-a", "us-central1-b", "us-east1-b", "europe-west1-b", "us-east1-c"):
        ids.add(gcp.provider.launch(gcp.request(offer("e2-medium", zone=zone))).id)
    assert {instance.id for instance in gcp.provider.list({RUN_TAG: "run-1"})} == ids
    east = gcp.provider.list({RUN_TAG: "run-1"}, ["us-east1"])
    assert {instance.id.split("/")[0] for instance in east} == {"us-east1-b", "us-east1-c"}
    assert gcp.provider.list({RUN_TAG: "run-2"}) == []
    for known in ids:
        gcp.provider.terminate(known)
    until(lambda: not gcp.provider.list({}), 10)


def test_a_list_with_a_hole_is_no_list(project: Open) -> None:
    """A zone that could not be asked makes the whole list fail."""
    account = project(fault("unreachable", op=LIST, message="us-east1-b"))
    with pytest.raises(TransientError, match=r"not complete.*us-east1-b"):
        account.provider.list({})
    assert account.provider.list({}) == []


def test_what_is_left_behind_is_listed_and_removed(gcp: Account) -> None:
    """Disks and addresses of byoc, and its firewall rules, can be seen and ended by their ids."""
    launched = gcp.provider.launch(gcp.request(offer("e2-medium")))
    gcp.running(launched.id)
    google = provider(gcp, key_file="")._google  # as the project's administrator
    made = {"name": "byoc-ip", "labels": {"byoc-managed": "1", "byoc-owner": gcp.owner}}
    google.call(
        "addresses", "insert_unary", project=google.project, region="us-central1",
        address_resource=made,
    )  # fmt: skip
    gcp.world.facades()[0]._instances._boxes["us-central1-a", launched.id.split("/")[1]].body[
        "disks"
    ][0]["autoDelete"] = False
    gcp.provider.terminate(launched.id)
    gcp.ended(launched.id)
    kinds = until(lambda: len(found := gcp.own(everything=True)) == 4 and found, 10)
    assert {thing.kind for thing in kinds} == {"disk", "address", "firewall"}
    assert {left["kind"] for left in gcp.world.facades()[0].leftovers()} == {"disk", "address"}
    for thing in kinds:
        assert gcp.provider.get(thing.id).state == "running"
        gcp.provider.terminate(thing.id)
        until(lambda thing=thing: gcp.provider.get(thing.id).state == "gone", 10)
        gcp.provider.terminate(thing.id)
    assert gcp.own(everything=True) == []


def test_a_disk_goes_with_its_instance(gcp: Account) -> None:
    """Nothing is left of an instance that was deleted, and a disk in use is nobody's leftover."""
    launched = gcp.provider.launch(gcp.request(offer("e2-medium")))
    gcp.running(launched.id)
    assert {thing.kind for thing in gcp.own(everything=True)} == {"instance", "firewall"}
    gcp.provider.terminate(launched.id)
    gcp.ended(launched.id)
    assert {thing.kind for thing in gcp.own(everything=True)} == {"firewall"}
    assert gcp.world.facades()[0].leftovers() == []


def test_the_console_is_the_serial_port(gcp: Account) -> None:
    """What the machine printed can be read; nothing of what is not there."""
    launched = gcp.provider.launch(gcp.request(offer("e2-medium")))
    gcp.running(launched.id)
    assert "booted" in until(lambda: gcp.provider.console(launched.id), 10)
    assert gcp.provider.console("us-central1-a/byoc-none") == ""


def test_many_threads_share_one_provider(gcp: Account) -> None:
    """Launches, reads and ends of ten threads at once do not disturb each other."""
    failed: list[BaseException] = []

    def life() -> None:
        try:
            launched = gcp.provider.launch(gcp.request(offer("e2-medium")))
            gcp.running(launched.id)
            gcp.provider.terminate(launched.id)
            gcp.ended(launched.id)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=life) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_delete_that_fails_later_leaves_it(project: Open) -> None:
    """An operation of ours that fails changes nothing; the next attempt does."""
    account = project(fault("INTERNAL_ERROR", op="compute.instances.delete"))
    launched = account.provider.launch(account.request(offer("e2-medium")))
    account.running(launched.id)
    account.provider.terminate(launched.id)
    assert account.provider.get(launched.id).state == "running"
    account.provider.terminate(launched.id)
    account.ended(launched.id)


def test_a_quota_is_free_again_after_the_end(project: Open) -> None:
    """Usage counts what lives: the second instance fits once the first is gone."""
    text = '[[quota]]\ncloud = "gcp"\nregion = "*"\nbucket = "NVIDIA_L4_GPUS"\nlimit = 1'
    account = project(text)
    gpu = offer("g2-standard-4")
    first = account.provider.launch(account.request(gpu))
    account.running(first.id)
    assert refusal(account, gpu).code == "quota"
    account.provider.terminate(first.id)
    account.ended(first.id)
    account.running(account.provider.launch(account.request(gpu)).id)
