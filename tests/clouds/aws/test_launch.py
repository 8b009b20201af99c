"""What the AWS adapter launches, seen through boto3 and through the account's own log."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from byoc import clock
from byoc.errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    TokenError,
    TransientError,
)
from byoc.pricing import catalog
from byoc.providers.aws import launch
from byoc.providers.aws.provider import AwsProvider
from byoc.resources import Offer
from tests.clouds.accounts import Account
from tests.clouds.aws.conftest import Open, aws, boto, fault
from tests.helpers import until

NOWHERE = Path("/nonexistent")
"""A home that the adapter never writes to."""


def offer(kind: str, market: str = "on-demand", zone: str = "us-east-1b") -> Offer:
    """One of the catalogue's, in a zone."""
    found = catalog.find("aws", "us-east-1", kind, market)
    assert found is not None
    return found._replace(zone=zone)


def described(instance_id: str) -> dict[str, Any]:
    """What EC2 says of an instance to anybody who asks."""
    answer = boto().describe_instances(InstanceIds=[instance_id.partition("/")[2]])
    found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
    return found


def launches(account: Account) -> int:
    """RunInstances that the account has seen."""
    assert account.world is not None
    return len(account.world.log.calls("aws", "RunInstances"))


def as_dict(tags: list[dict[str, str]]) -> dict[str, str]:
    """boto3's tags as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_a_machine_is_launched_as_it_should_be(account: Account) -> None:
    """IMDSv2 alone and one hop, an end when it shuts itself down, a public address, its zone's
    subnet, our security group, boot data that EC2 can keep."""
    made = account.provider.launch(account.request(offer("m7i.large")))
    found = described(made.id)
    options = found["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    ec2, made_id = boto(), found["InstanceId"]
    asked = ec2.describe_instance_attribute(
        InstanceId=made_id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert asked["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    data = ec2.describe_instance_attribute(InstanceId=made_id, Attribute="userData")
    text = base64.b64decode(data["UserData"]["Value"])
    assert text.startswith(b"#cloud-config\n") and len(text) <= launch.USER_DATA_LIMIT
    assert b"/sbin/shutdown -h now" in text
    assert found["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert [g["GroupName"] for g in found["SecurityGroups"]] == [f"byoc-{account.owner}"]
    assert account.running(made.id).address.startswith("127.")


@pytest.mark.parametrize("market", ["on-demand", "spot"])
def test_all_that_is_made_is_tagged_by_the_launch(account: Account, market: str) -> None:
    """Instance, disk, network interface and spot request carry every tag, with no second call."""
    request = account.request(offer("m7i.large", market))
    made = account.provider.launch(request)
    found = described(made.id)
    ec2, wanted = boto(), {**request.tags, "byoc-managed": "1"}
    filters = [{"Name": "attachment.instance-id", "Values": [found["InstanceId"]]}]
    assert as_dict(found["Tags"]) == wanted
    [disk] = ec2.describe_volumes(Filters=filters)["Volumes"]
    assert as_dict(disk["Tags"]) == wanted
    assert [one["Ebs"]["DeleteOnTermination"] for one in found["BlockDeviceMappings"]] == [True]
    nics = [n["NetworkInterfaceId"] for n in found["NetworkInterfaces"]]
    [nic] = ec2.describe_network_interfaces(NetworkInterfaceIds=nics)["NetworkInterfaces"]
    assert as_dict(nic["TagSet"]) == wanted
    if market == "spot":
        assert found["InstanceLifecycle"] == "spot"
        requests = ec2.describe_spot_instance_requests(
            SpotInstanceRequestIds=[found["SpotInstanceRequestId"]]
        )["SpotInstanceRequests"]
        assert [as_dict(one["Tags"]) for one in requests] == [wanted]
    assert account.world is not None and not account.world.log.calls("aws", "CreateTags")


@pytest.mark.parametrize(
    ("kind", "arch", "words"),
    [
        ("g6.xlarge", "x86_64", "Nvidia Driver"),
        ("g5g.xlarge", "arm64", "ARM64 Base OSS Nvidia"),
        ("m7i.large", "x86_64", "ubuntu"),
        ("m7g.large", "arm64", "ubuntu"),
    ],
)
def test_the_image_fits_the_machine(account: Account, kind: str, arch: str, words: str) -> None:
    """GPUs get NVIDIA's driver, every architecture its own image, the disk at least its size."""
    zones = account.provider.survey("us-east-1", [offer(kind)]).zones[kind]
    made = account.provider.launch(account.request(offer(kind, zone=zones[0])))
    found = described(made.id)
    [image] = boto().describe_images(ImageIds=[found["ImageId"]])["Images"]
    assert image["Architecture"] == arch and words in image["Name"]
    disks = [{"Name": "attachment.instance-id", "Values": [found["InstanceId"]]}]
    [disk] = boto().describe_volumes(Filters=disks)["Volumes"]
    assert disk["Size"] == image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]
    assert disk["VolumeType"] == "gp3"


@pytest.mark.parametrize(("asked", "size"), [(0, 8), (1, 8), (20 * 1024, 20), (20 * 1024 + 1, 21)])
def test_the_disk_is_as_large_as_asked(account: Account, asked: int, size: int) -> None:
    """A disk is rounded up to whole GiB, and never smaller than the image."""
    made = account.provider.launch(account.request(offer("m7i.large"), disk=asked))
    instance = made.id.partition("/")[2]
    disks = [{"Name": "attachment.instance-id", "Values": [instance]}]
    [disk] = boto().describe_volumes(Filters=disks)["Volumes"]
    assert disk["Size"] == size


def test_without_permission_for_parameters_the_image_is_found_by_name(rented: Open) -> None:
    """When SSM refuses, or has no such parameter, the publisher's newest image is taken."""
    account = rented(fault("GetParameter", "deny", times=-1))
    made = account.provider.launch(account.request(offer("g6.xlarge")))
    [image] = boto().describe_images(ImageIds=[described(made.id)["ImageId"]])["Images"]
    assert image["OwnerId"] == "898082745236" and "22.04" in image["Name"]


def test_the_network_is_prepared_once(rented: Open) -> None:
    """A second launch in a region asks for nothing but the launch itself."""
    account = rented()
    assert account.world is not None
    account.provider.launch(account.request(offer("m7i.large")))
    before = account.requests()
    account.provider.launch(account.request(offer("m7i.large")))
    assert account.requests() == before + 1


def test_another_process_reuses_the_security_group(rented: Open) -> None:
    """The group is found again by its name, with its rule, and made only once."""
    account = rented()
    assert account.world is not None
    account.provider.launch(account.request(offer("m7i.large")))
    fresh = AwsProvider(NOWHERE, clock.SYSTEM, {}, {})
    fresh.launch(account.request(offer("m7i.large")))
    assert len(account.world.log.calls("aws", "CreateSecurityGroup")) == 1
    assert len(account.world.log.calls("aws", "AuthorizeSecurityGroupIngress")) == 1
    [group] = boto().describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [f"byoc-{account.owner}"]}]
    )["SecurityGroups"]
    assert as_dict(group["Tags"]) == {"byoc-managed": "1", "byoc-owner": account.owner}
    [rule] = group["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (22, 22, "tcp")
    assert [r["CidrIp"] for r in rule["IpRanges"]] == ["127.0.0.1/32"]


def test_a_moved_client_shuts_its_old_door(rented: Open) -> None:
    """With another ingress the new network is let in and the one that byoc let in before is not;
    what somebody else opened stays."""
    account = rented()
    account.provider.launch(account.request(offer("m7i.large")))
    groups = [{"Name": "group-name", "Values": [f"byoc-{account.owner}"]}]
    [group] = boto().describe_security_groups(Filters=groups)["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    theirs = {**rule, "IpRanges": [{"CidrIp": "198.51.100.0/24", "Description": "office"}]}
    boto().authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[theirs])
    moved = AwsProvider(NOWHERE, clock.SYSTEM, {}, {"ingress": "203.0.113.7/32, 2001:db8::/64"})
    moved.launch(account.request(offer("m7i.large")))
    [group] = boto().describe_security_groups(Filters=groups)["SecurityGroups"]
    four = {r["CidrIp"] for p in group["IpPermissions"] for r in p.get("IpRanges", ())}
    six = {r["CidrIpv6"] for p in group["IpPermissions"] for r in p.get("Ipv6Ranges", ())}
    assert four == {"203.0.113.7/32", "198.51.100.0/24"} and six == {"2001:db8::/64"}


def test_a_group_that_was_made_a_moment_ago_may_not_be_known(rented: Open) -> None:
    """EC2's parts learn of a new group one after the other: the launch is to be asked for again,
    by the same token, and is no mistake of anybody's."""
    account = rented(fault("RunInstances", "InvalidGroup.NotFound"))
    request = account.request(offer("m7i.large"))
    with pytest.raises(TransientError):
        account.provider.launch(request)
    assert account.provider.launch(request).id


def test_a_deleted_security_group_is_made_again(rented: Open) -> None:
    """What somebody deleted between two launches is prepared anew, within the second launch."""
    account = rented()
    first = account.provider.launch(account.request(offer("m7i.large")))
    account.provider.terminate(first.id)
    account.ended(first.id)
    groups = [{"Name": "group-name", "Values": [f"byoc-{account.owner}"]}]
    [group] = boto().describe_security_groups(Filters=groups)["SecurityGroups"]
    boto().delete_security_group(GroupId=group["GroupId"])
    made = account.provider.launch(account.request(offer("m7i.large")))
    assert account.running(made.id).state == "running"


def test_settings_name_image_subnet_and_group(rented: Open) -> None:
    """The user's own image, subnet and security group are used as they are."""
    account = rented()
    ec2 = boto()
    [subnet] = ec2.describe_subnets(
        Filters=[{"Name": "availability-zone", "Values": ["us-east-1c"]}]
    )["Subnets"]
    group = ec2.create_security_group(GroupName="mine", Description="mine", VpcId=subnet["VpcId"])[
        "GroupId"
    ]
    [image] = ec2.describe_images(
        Filters=[{"Name": "name", "Values": ["ubuntu/images/*noble*amd64*"]}]
    )["Images"]
    own = AwsProvider(
        NOWHERE, clock.SYSTEM, {},
        {"subnet": subnet["SubnetId"], "security_group": group, "image": image["ImageId"]},
    )  # fmt: skip
    made = own.launch(account.request(offer("m7i.large", zone="")))
    found = described(made.id)
    assert found["ImageId"] == image["ImageId"] and found["SubnetId"] == subnet["SubnetId"]
    assert [g["GroupId"] for g in found["SecurityGroups"]] == [group]
    assert not ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    with pytest.raises(BadRequestError):
        own.launch(account.request(offer("m7i.large", zone="us-east-1a")))


def test_without_a_default_network_it_says_so(rented: Open) -> None:
    """An account without a default VPC is told which command makes one; none is made silently."""
    account = rented()
    ec2 = boto()
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    with pytest.raises(BadRequestError) as caught:
        account.provider.launch(account.request(offer("m7i.large")))
    assert caught.value.scope == "region"
    assert "create-default-vpc --region us-east-1" in caught.value.hints[0]
    assert launches(account) == 0


# --- one request ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "InternalError", "Unavailable"])
def test_nobody_retries_a_launch(rented: Open, code: str) -> None:
    """Whatever the answer is, and although boto3 would retry a 500, there is one RunInstances."""
    account = rented(fault("RunInstances", code, times=-1))
    with pytest.raises(ProviderError):
        account.provider.launch(account.request(offer("g6.xlarge")))
    assert launches(account) == 1


def test_other_questions_are_asked_again(rented: Open) -> None:
    """A question that fails for a moment is asked again by the SDK."""
    account = rented(fault("DescribeSubnets", "Unavailable", times=2))
    assert account.provider.launch(account.request(offer("m7i.large"))).id


def test_spot_launches_once_more_when_the_end_behaviour_is_refused(rented: Open) -> None:
    """Should EC2 not take the shutdown behaviour of a one-time spot instance, it is launched
    without, under a token of its own; the same request again is the same instance."""
    message = "message = 'The shutdown behavior of spot instances cannot be set'\n"
    text = fault("RunInstances", "InvalidParameterCombination")
    account = rented(text + message)
    request = account.request(offer("m7i.large", "spot"))
    first = account.provider.launch(request)
    assert launches(account) == 2
    assert account.provider.launch(request).id == first.id
    assert launches(account) == 3


def test_a_lost_answer_is_found_by_the_same_token(rented: Open) -> None:
    """When the answer is lost the outcome is unknown, and asking again gives the one instance."""
    account = rented(fault("RunInstances", "lost-reply"))
    request = account.request(offer("m7i.large"))
    with pytest.raises(TransientError):
        account.provider.launch(request)
    again = account.provider.launch(request)
    assert [i.id for i in account.own()] == [again.id] and launches(account) == 2


def test_a_token_stands_for_one_request(account: Account) -> None:
    """A token with other parameters is refused as that, and so is one whose instance has ended."""
    request = account.request(offer("m7i.large"))
    made = account.provider.launch(request)
    with pytest.raises(TokenError) as caught:
        account.provider.launch(request._replace(disk=100 * 1024))
    assert caught.value.vendor_code == "IdempotentParameterMismatch"
    account.provider.terminate(made.id)
    account.ended(made.id)
    with pytest.raises(TokenError) as caught:
        account.provider.launch(request)
    assert caught.value.vendor_code == "IdempotentInstanceTerminated"


def test_a_token_is_remembered_of_a_failed_launch(rented: Open) -> None:
    """Even after a refusal for capacity a token cannot be used for another type."""
    rows = "[[capacity]]\ncloud = 'aws'\nzone = '*'\ntype = 'g6.xlarge'\ncount = 0\n"
    account = rented(rows)
    request = account.request(offer("g6.xlarge"))
    with pytest.raises(CapacityError):
        account.provider.launch(request)
    with pytest.raises(TokenError):
        account.provider.launch(request._replace(offer=offer("g6.2xlarge")))


# --- where ----------------------------------------------------------------------------------


def test_a_zone_without_capacity_names_others(rented: Open) -> None:
    """EC2's own advice on zones comes with the refusal, and those zones have it."""
    rows = "[[capacity]]\ncloud = 'aws'\nzone = 'us-east-1b'\ntype = 'g6.xlarge'\ncount = 0\n"
    account = rented(rows)
    with pytest.raises(CapacityError) as caught:
        account.provider.launch(account.request(offer("g6.xlarge")))
    assert caught.value.zones and "us-east-1b" not in caught.value.zones
    there = account.provider.launch(account.request(offer("g6.xlarge", zone=caught.value.zones[0])))
    assert there.offer.zone == caught.value.zones[0]


def test_without_a_zone_ec2_takes_one_that_has_room(rented: Open) -> None:
    """A launch for a whole region goes to a zone with capacity, with a public address."""
    rows = "".join(
        f"[[capacity]]\ncloud = 'aws'\nzone = 'us-east-1{z}'\ntype = 'm7i.large'\ncount = 0\n"
        for z in "abc"
    )
    account = rented(rows)
    made = account.provider.launch(account.request(offer("m7i.large", zone="")))
    running = account.running(made.id)
    assert running.offer.zone == "us-east-1d" and running.address
    assert [g["GroupName"] for g in described(made.id)["SecurityGroups"]] == [
        f"byoc-{account.owner}"
    ]


def test_a_zone_that_does_not_sell_it_is_told_apart(account: Account) -> None:
    """Not sold there is not the same as no capacity."""
    with pytest.raises(NotOfferedError) as caught:
        account.provider.launch(account.request(offer("g6.xlarge", zone="us-east-1e")))
    assert caught.value.scope == "type@zone" and caught.value.vendor_code == "Unsupported"


@pytest.mark.parametrize(
    ("market", "bucket", "code"),
    [("on-demand", "L-DB2E81BA", "VcpuLimitExceeded"),
     ("spot", "L-3819A6DF", "MaxSpotInstanceCountExceeded")],
)  # fmt: skip
def test_a_quota_is_told_with_its_bucket(rented: Open, market: str, bucket: str, code: str) -> None:
    """The refusal names the quota that was met, so that other families and markets go on."""
    row = f"[[quota]]\ncloud = 'aws'\nregion = '*'\nbucket = '{bucket}'\nlimit = 4\n"
    account = rented(row)
    account.provider.launch(account.request(offer("g6.xlarge", market)))
    with pytest.raises(QuotaError) as caught:
        account.provider.launch(account.request(offer("g6.xlarge", market)))
    assert (caught.value.bucket, caught.value.vendor_code) == (bucket, code)
    other = {"spot": "on-demand", "on-demand": "spot"}[market]
    assert account.provider.launch(account.request(offer("g6.xlarge", other))).id


def test_boot_data_that_ec2_would_not_take_are_refused_here(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too much user data is found before anything is asked for."""
    monkeypatch.setattr(launch, "USER_DATA_LIMIT", 100)
    before = launches(account)
    with pytest.raises(BadRequestError):
        account.provider.launch(account.request(offer("m7i.large")))
    assert launches(account) == before


def test_a_region_that_is_not_enabled_shuts_only_itself(rented: Open) -> None:
    """EC2 answers for such a region as if the keys were wrong; the cloud is not given up for it."""
    account = rented()
    with pytest.raises(AccessError) as caught:
        account.provider.launch(
            account.request(offer("m7i.large")._replace(region="eu-south-2", zone=""))
        )
    assert caught.value.scope == "region" and "enable-region" in caught.value.hints[0]


def test_fifty_launches_at_once(rented: Open) -> None:
    """A fleet is launched side by side: each its own instance, the group made once."""
    account = rented()
    requests = [account.request(offer("m7i.large")) for _ in range(50)]
    with ThreadPoolExecutor(50) as pool:
        made = list(pool.map(account.provider.launch, requests))
    assert len({one.id for one in made}) == 50
    assert account.world is not None
    for once in ("CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "GetParameter"):
        assert len(account.world.log.calls("aws", once)) == 1

    def looked() -> bool:
        with ThreadPoolExecutor(50) as pool:
            return all(i.address for i in pool.map(account.provider.get, [o.id for o in made]))

    until(looked, 30, "all to have addresses")
    looks = len(account.world.log.calls("aws", "DescribeInstances"))
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(account.provider.get, [o.id for o in made]))
    assert len(account.world.log.calls("aws", "DescribeInstances")) - looks < 25
    assert aws(account).traits.notice == 120
