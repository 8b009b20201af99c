"""Finding, watching and ending what was launched on AWS, and what it leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from byoc.errors import AccessError, CapacityError, ProviderError, TransientError
from byoc.providers import recent
from byoc.providers.aws import ids, provider
from byoc.providers.base import ANY, OWNER_TAG, TOKEN_TAG, Instance
from byoc.providers.looking import Lookout
from tests.clouds.accounts import Account
from tests.clouds.aws.conftest import Open, aws, boto, fault
from tests.helpers import until

LAG = "[list.aws]\nlag = 3.0\n"


def launched(account: Account, market: str = "on-demand") -> Instance:
    """One small instance that runs."""
    made = account.provider.launch(account.request(account.placed(market)))
    return account.running(made.id)


def tagged(account: Account, kind: str, **more: str) -> list[dict[str, Any]]:
    """A TagSpecifications with the account's tags."""
    tags = {"byoc-managed": "1", OWNER_TAG: account.owner, **more}
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]


# --- get and list ---------------------------------------------------------------------------


def test_an_instance_tells_what_it_is(account: Account) -> None:
    """Address, port, user, start and offer of a running instance are all there."""
    found = launched(account)
    assert (found.user, found.port) == ("root", 22)
    assert found.id.startswith("us-east-1/i-") and found.started > 1.7e9
    assert found.offer.cpus > 0 and found.offer.price == account.placed().price


def test_a_fresh_instance_is_not_taken_for_gone(rented: Open) -> None:
    """While EC2 does not show a new instance yet it is pending, and it cannot be ended silently."""
    account = rented(LAG)
    made = account.provider.launch(account.request(account.placed()))
    now = account.provider.get(made.id)
    assert now.state == "pending" and now.detail == "EC2 does not show it yet"
    with pytest.raises(TransientError) as caught:
        account.provider.terminate(made.id)
    assert caught.value.vendor_code == "InvalidInstanceID.NotFound"
    assert account.own() == []  # a list lags as well
    assert [i.id for i in until(account.own, 10, "the list to catch up")] == [made.id]
    account.running(made.id)


def test_many_looks_are_few_requests() -> None:
    """Ids that are asked for while a request is under way go together with the next."""
    gate, asked = threading.Event(), []

    def ask(wanted: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        asked.append(list(wanted))
        gate.wait(10)
        return {one: {"InstanceId": one} for one in wanted if one != "i-none"}

    lookout = Lookout(ask, 200)
    with ThreadPoolExecutor(32) as pool:
        first = pool.submit(lookout.look, "i-0")
        until(lambda: asked, 5)
        rest = [pool.submit(lookout.look, f"i-{n}") for n in range(1, 31)]
        none = pool.submit(lookout.look, "i-none")
        until(lambda: len(lookout._waiting) == 31, 5)
        gate.set()
        answers = [one.result(10) for one in rest]
    assert first.result() == {"InstanceId": "i-0"} and none.result() is None
    assert [one["InstanceId"] for one in answers if one] == [f"i-{n}" for n in range(1, 31)]
    assert len(asked) == 2


def test_a_failed_look_is_told_to_everybody_who_waited() -> None:
    """The failure of a shared request is each caller's, and the next caller asks anew."""
    answers: list[Any] = [TransientError("no"), {"i-1": {}}]

    def ask(wanted: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    lookout = Lookout(ask, 200)
    with pytest.raises(TransientError):
        lookout.look("i-1")
    assert lookout.look("i-1") == {}


def test_a_list_reads_all_pages(rented: Open) -> None:
    """More instances than a page holds are all listed."""
    account = rented()
    for _ in range(7):
        account.provider.launch(account.request(account.placed()))
    client = aws(account)._clients.client("ec2", "us-east-1")
    event = "provide-client-params.ec2.DescribeInstances"

    def in_fives(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "MaxResults": 5}

    client.meta.events.register(event, in_fives)
    assert account.world is not None
    before = len(account.world.log.calls("aws", "DescribeInstances"))
    assert len(account.own()) == 7
    assert len(account.world.log.calls("aws", "DescribeInstances")) - before == 2
    # moto's mark of a page is an instance: it is lost when that one ends before the next page
    client.meta.events.unregister(event, in_fives)


def test_a_region_that_cannot_be_asked_is_no_empty_region(rented: Open) -> None:
    """One failing region fails the list: an incomplete one is never returned."""
    account = rented(fault("DescribeInstances", "UnauthorizedOperation", -1, region="eu-west-1"))
    launched(account)
    assert len(account.own()) == 1
    with pytest.raises(AccessError) as caught:
        account.provider.list({OWNER_TAG: account.owner})
    assert caught.value.request_id and "DescribeInstances" in caught.value.hints[0]


def test_a_region_that_was_never_enabled_is_left_out(account: Account) -> None:
    """There nothing of the account can be; the same answer of an enabled region is a failure."""
    found = launched(account)
    listed = account.provider.list(
        {TOKEN_TAG: found.tags[TOKEN_TAG]}, ["eu-south-2", "us-east-1", "me-central-1"]
    )
    assert [i.id for i in listed] == [found.id]


def test_an_enabled_region_with_bad_keys_is_a_failure(rented: Open) -> None:
    """AuthFailure hides nothing where the account has enabled the region."""
    account = rented(fault("DescribeInstances", "AuthFailure", -1, region="eu-west-1"))
    with pytest.raises(AccessError):
        account.provider.list({}, ["eu-west-1"])


def test_things_of_others_are_not_listed(account: Account) -> None:
    """Without tags the list has what byoc made, and nothing else of the account."""
    ec2 = boto()
    [image] = ec2.describe_images(
        Filters=[{"Name": "name", "Values": ["ubuntu/images/*jammy*amd64*"]}]
    )["Images"]
    theirs = ec2.run_instances(
        ImageId=image["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1
    )["Instances"][0]["InstanceId"]
    try:
        assert theirs not in {ids.parse(i.id).id for i in account.provider.list({})}  # type: ignore[union-attr]
    finally:
        ec2.terminate_instances(InstanceIds=[theirs])


def test_tag_values_are_taken_literally(account: Account) -> None:
    """A star within a tag's value is no pattern; by itself it is ANY, which each value is."""
    made = launched(account)
    assert account.provider.list({OWNER_TAG: f"{account.owner[:-1]}*"}, ["us-east-1"]) == []
    assert account.provider.list({OWNER_TAG: f"{account.owner[:-1]}?"}, ["us-east-1"]) == []
    assert made.id in {one.id for one in account.provider.list({OWNER_TAG: ANY}, ["us-east-1"])}
    assert provider.tag_filters({"a": "x*?\\"})[0]["Values"] == ["x\\*\\?\\\\"]


# --- ends -----------------------------------------------------------------------------------


def test_a_reclaimed_instance_says_why_it_is_gone(rented: Open) -> None:
    """After a preemption the instance is gone with the reason, which speaks against the zone."""
    account = rented()
    assert account.world is not None
    found = launched(account, "spot")
    account.world.facades()[0].preempt(found.id.partition("/")[2], 0.05)
    gone = account.ended(found.id)
    assert isinstance(gone.failure, CapacityError) and gone.failure.scope == "offer"
    assert gone.failure.vendor_code == "Server.SpotInstanceTermination"
    assert "Spot interruption" in gone.detail and gone.failure.remember > 0


def test_an_instance_that_we_ended_has_no_failure(account: Account) -> None:
    """Our own end is told, and is nobody's fault."""
    found = launched(account)
    account.provider.terminate(found.id)
    gone = account.ended(found.id)
    assert gone.failure is None and "Client.UserInitiatedShutdown" in gone.detail


def test_a_protected_instance_is_told_as_such(rented: Open) -> None:
    """Termination protection is somebody's decision: it is an error with its remedy."""
    account = rented()
    found = launched(account)
    own = found.id.partition("/")[2]
    boto().modify_instance_attribute(InstanceId=own, DisableApiTermination={"Value": True})
    with pytest.raises(ProviderError) as caught:
        account.provider.terminate(found.id)
    assert caught.value.vendor_code == "OperationNotPermitted" and caught.value.hints
    boto().modify_instance_attribute(InstanceId=own, DisableApiTermination={"Value": False})


def test_an_end_that_is_ignored_is_seen(rented: Open) -> None:
    """When EC2 accepts and does nothing, a look still shows the instance running."""
    account = rented(fault("TerminateInstances", "ignore"))
    found = launched(account)
    account.provider.terminate(found.id)
    assert account.provider.get(found.id).state == "running"
    account.provider.terminate(found.id)
    account.ended(found.id)


def test_an_instance_that_never_was_is_gone_in_the_end(
    rented: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 may accept a launch of which nothing comes: a delay for a minute, and then nothing."""
    account = rented(fault("RunInstances", "ignore"))
    made = account.provider.launch(account.request(account.placed()))
    assert account.provider.get(made.id).state == "pending"
    monkeypatch.setattr(recent, "SPREADING", 0.0)
    assert account.provider.get(made.id).state == "gone"
    account.provider.terminate(made.id)


# --- leftovers ------------------------------------------------------------------------------


def test_what_is_left_behind_is_listed_and_removed(rented: Open) -> None:
    """A loose disk, interface and address and the security group are listed by tag, looked at by
    id, ended by id, and ended again without an error."""
    account = rented()
    ec2 = boto()
    found = launched(account)
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tagged(account, "volume")
    )
    ec2.create_network_interface(
        SubnetId=subnet, TagSpecifications=tagged(account, "network-interface")
    )
    ec2.allocate_address(Domain="vpc", TagSpecifications=tagged(account, "elastic-ip"))
    left = [one for one in account.own(everything=True) if one.id != found.id]
    assert sorted(one.kind for one in left) == ["address", "disk", "firewall", "network"]
    account.provider.terminate(found.id)
    account.ended(found.id)
    for one in left:
        assert account.provider.get(one.id).state == "running"
        account.provider.terminate(one.id)
        assert account.provider.get(one.id).state == "gone"
        account.provider.terminate(one.id)
    assert account.own(everything=True) == []


def test_a_group_in_use_is_asked_for_later(rented: Open) -> None:
    """The security group of a running instance cannot go yet: a matter of time, not a mistake."""
    account = rented()
    launched(account)
    [group] = [one for one in account.own(everything=True) if one.kind == "firewall"]
    with pytest.raises(TransientError) as caught:
        account.provider.terminate(group.id)
    assert caught.value.vendor_code == "DependencyViolation"


def test_disks_of_living_instances_are_not_left_behind(account: Account) -> None:
    """What an instance holds goes with it, and is no leftover."""
    launched(account)
    assert {one.kind for one in account.own(everything=True)} == {"instance", "firewall"}


# --- console --------------------------------------------------------------------------------


def test_the_console_is_read_where_latest_is_not_known(rented: Open) -> None:
    """Older types refuse the latest output: the kept one is read then."""
    account = rented(fault("GetConsoleOutput", "UnsupportedOperation"))
    found = launched(account)
    assert isinstance(account.provider.console(found.id), str)
    assert account.world is not None
    assert len(account.world.log.calls("aws", "GetConsoleOutput")) == 2


def test_the_console_of_nothing_is_empty(account: Account) -> None:
    """No machine, no output."""
    assert account.provider.console("us-east-1/i-0123456789abcdef0") == ""
    assert account.provider.console("us-east-1/vol-0123456789abcdef0") == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("us-east-1/i-0ab", "instance"),
        ("ap-southeast-2/vol-0ab", "disk"),
        ("eu-west-1/sg-0ab", "firewall"),
        ("us-gov-east-1/eni-0ab", "network"),
        ("us-east-1/eipalloc-0ab", "address"),
    ],
)
def test_ids_are_read(text: str, kind: str) -> None:
    """An id says region and kind, and is written as it was read."""
    ref = ids.parse(text)
    assert ref is not None and ref.kind == kind and str(ref) == text


@pytest.mark.parametrize("text", ["", "i-0ab", "us-east-1/", "us-east-1/x-0", "us-east-1/i-0/../x"])
def test_other_ids_are_not_read(text: str) -> None:
    """What is no id of AWS is None."""
    assert ids.parse(text) is None
