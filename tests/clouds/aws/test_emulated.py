"""The emulated AWS account is as strict as the real one: asked by boto3 without our adapter."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import pytest

from byoc.emulator import scenario
from byoc.emulator.aws import front, metadata, schema
from byoc.emulator.aws.facade import AwsFacade
from byoc.emulator.ports import Reply
from byoc.emulator.world import EmulatedWorld
from tests.clouds.accounts import Account
from tests.clouds.aws.conftest import Open, boto, fault
from tests.helpers import until

ONCE = botocore.config.Config(retries={"total_max_attempts": 1})


def image(name: str = "ubuntu/images/*jammy*amd64*") -> str:
    """A public image's id."""
    found = boto().describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"]
    return str(found[0]["ImageId"])


def run(**more: Any) -> dict[str, Any]:
    """RunInstances of a small machine."""
    client = boto3.Session().client("ec2", config=ONCE)
    params = {"InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
    if "ImageId" not in params:
        params["ImageId"] = image()
    made: dict[str, Any] = client.run_instances(**params)["Instances"][0]
    return made


def refused(**more: Any) -> str:
    """The code with which RunInstances is refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        run(**more)
    return str(caught.value.response["Error"]["Code"])


def raw(action: str, **params: str) -> bytes:
    """A form that boto3 would not send, signed by boto3."""
    client = boto()
    forms: list[Mapping[str, str]] = []

    def add(params_: Any = None, **given: Any) -> None:
        given["request"].data = {**given["request"].data, **params}
        forms.append(given["request"].data)

    client.meta.events.register_first("request-created.ec2", add)
    try:
        client.describe_regions()
    except botocore.exceptions.ClientError as error:
        return str(error.response["Error"]["Code"]).encode()
    return b""


# --- launches that EC2 refuses ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
        ({"InstanceType": "t9.enormous"}, "InvalidParameterValue"),
        ({"SubnetId": "subnet-0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0"]}, "InvalidGroup.NotFound"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"InstanceType": "m7g.large"}, "InvalidParameterValue"),
        ({"InstanceInitiatedShutdownBehavior": "vanish"}, "InvalidParameterValue"),
        ({"MaxCount": 2}, "NotEmulated"),
        ({"InstanceMarketOptions": {"MarketType": "capacity-block"}}, "NotEmulated"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 1}}]},
            "InvalidBlockDeviceMapping",
        ),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0}], "SecurityGroupIds": ["sg-0"]},
            "InvalidParameterCombination",
        ),
        ({"Placement": {"AvailabilityZone": "us-east-1e"}, "InstanceType": "g6.xlarge"},
         "Unsupported"),
    ],
)  # fmt: skip
def test_a_wrong_launch_is_refused(account: Account, params: dict[str, Any], code: str) -> None:
    """What EC2 would refuse is refused, with EC2's code."""
    assert refused(**params) == code


def test_unknown_parameters_are_refused(account: Account) -> None:
    """A parameter that EC2's model lacks is an error, and so is a value of the wrong kind."""
    assert raw("DescribeRegions", Surprise="1") == b"UnknownParameter"
    assert raw("DescribeRegions", AllRegions="perhaps") == b"InvalidParameterValue"
    assert raw("DescribeRegions", **{"RegionName.3": "us-east-1"}) == b"InvalidParameterValue"


def test_what_is_not_emulated_says_so(account: Account) -> None:
    """A real operation that nobody built is 501 with its name, of any service."""
    for ask in (
        lambda: boto().create_key_pair(KeyName="x"),
        lambda: boto("iam").list_users(),
        lambda: boto("ssm").describe_parameters(),
        lambda: boto("s3").list_buckets(),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            ask()
        response = caught.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
        assert response["Error"]["Code"] in ("NotEmulated", "501")


def test_answers_are_held_against_the_model() -> None:
    """An answer with an element or a value that EC2 does not send is found."""
    good = schema.render("DescribeRegions", {"Regions": [{"RegionName": "us-east-1"}]})
    assert schema.faults("DescribeRegions", good) == []
    wrong = good.replace(b"regionName", b"regionTitle")
    assert "regionTitle" in schema.faults("DescribeRegions", wrong)[0]
    state = schema.render("TerminateInstances", {"TerminatingInstances": [
        {"CurrentState": {"Code": 1, "Name": "running"}}]})  # fmt: skip
    assert schema.faults("TerminateInstances", state) == []
    assert schema.faults("TerminateInstances", state.replace(b">running<", b">dancing<"))
    assert schema.faults("TerminateInstances", state.replace(b">1<", b">one<"))


def test_every_operation_that_is_answered_exists() -> None:
    """The operations passed to moto are EC2's own."""
    assert schema.operations("ec2") >= front.MOTO


# --- who asks -------------------------------------------------------------------------------


def test_unsigned_and_foreign_requests_are_refused(account: Account) -> None:
    """Without the account's key nothing is answered."""
    foreign = boto3.Session(aws_access_key_id="AKIA0", aws_secret_access_key="x")
    for service, code in (("ec2", "AuthFailure"), ("sts", "InvalidClientTokenId")):
        client = foreign.client(service, region_name="us-east-1")
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            client.describe_regions() if service == "ec2" else client.get_caller_identity()
        assert caught.value.response["Error"]["Code"] == code
    address = str(boto().meta.endpoint_url)
    with pytest.raises(urllib.error.HTTPError) as unsigned:
        urllib.request.urlopen(address, b"Action=DescribeRegions&Version=2016-11-15", timeout=5)
    unsigned.value.close()
    assert unsigned.value.code == 403


def test_two_accounts_know_nothing_of_each_other(tmp_path: Path) -> None:
    """Worlds in one process have accounts of their own, and a stopped one leaves nothing."""
    made = []
    for name in ("one", "two"):
        world = EmulatedWorld(scenario.parse(""), tmp_path, machines="banner")
        folder = tmp_path / name
        folder.mkdir()
        facade = AwsFacade(world, folder)
        facade.start()
        made.append((world, facade))

    def client(facade: AwsFacade) -> Any:
        told = facade.environment()
        return boto3.Session().client(
            "ec2", "us-east-1", endpoint_url=told["AWS_ENDPOINT_URL"],
            aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip

    (_, first), (_, second) = made
    client(first).create_volume(AvailabilityZone="us-east-1a", Size=1)
    assert [one["kind"] for one in first.leftovers()] == ["disk"] and second.leftovers() == []
    assert client(second).describe_volumes()["Volumes"] == []
    for name in ("config", "credentials"):
        assert (tmp_path / "one" / name).stat().st_mode & 0o777 == 0o600
    for world, facade in made:
        facade.stop()
        world.end()
    assert first.leftovers() == []


# --- faults ---------------------------------------------------------------------------------


def test_no_answer_acts_on_nothing(rented: Open) -> None:
    """With ``no-answer`` the connection drops before anything is done."""
    account = rented(fault("RunInstances", "no-answer"))
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        run()
    assert boto().describe_instances()["Reservations"] == []
    assert run()["State"]["Name"] == "pending"
    assert account.launches() == 2


def test_a_lost_reply_is_acted_upon(rented: Open) -> None:
    """With ``lost-reply`` the instance is there although nobody was told."""
    rented(fault("RunInstances", "lost-reply"))
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        run()
    assert len(boto().describe_instances()["Reservations"]) == 1


def test_a_refusal_may_have_words_of_its_own(rented: Open) -> None:
    """A scenario's message and status take the place of the usual ones."""
    rented(fault("DescribeVpcs", "Strange") + "message = 'oh & no'\nstatus = 418\n")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        boto().describe_vpcs()
    response = caught.value.response
    assert response["Error"] == {"Code": "Strange", "Message": "oh & no"}
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 418


# --- lives ----------------------------------------------------------------------------------


def test_an_instance_boots_and_ends_step_by_step(rented: Open) -> None:
    """Pending without an address, then running, then its address, then shutting down."""
    account = rented("[boot.aws]\ndelay = 0.4\naddress_delay = 2.0\n")
    ec2 = boto()
    made = run()
    own = made["InstanceId"]
    assert made["State"]["Name"] == "pending" and "PublicIpAddress" not in made

    def now() -> dict[str, Any]:
        found: dict[str, Any] = ec2.describe_instances(InstanceIds=[own])["Reservations"][0][
            "Instances"
        ][0]
        return found

    until(lambda: now()["State"]["Name"] == "running", 5)
    assert "PublicIpAddress" not in now()
    until(lambda: "PublicIpAddress" in now(), 5)
    change = ec2.terminate_instances(InstanceIds=[own])["TerminatingInstances"][0]
    assert change["PreviousState"]["Name"] == "running"
    assert change["CurrentState"]["Name"] == "shutting-down"
    until(lambda: now()["State"]["Name"] == "terminated", 5)
    assert now()["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert account.world is not None and account.world.ledger.alive() == []


@pytest.mark.parametrize(("behaviour", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_a_machine_that_shuts_itself_down(rented: Open, behaviour: str, state: str) -> None:
    """What becomes of it is what the launch said."""
    account = rented()
    made = run(InstanceInitiatedShutdownBehavior=behaviour)
    own = made["InstanceId"]

    def now() -> dict[str, Any]:
        reservations = boto().describe_instances(InstanceIds=[own])["Reservations"]
        found: dict[str, Any] = reservations[0]["Instances"][0]
        return found

    until(lambda: now()["State"]["Name"] == "running", 5)
    assert account.world is not None
    account.world.off(("aws", own), "shutdown")
    until(lambda: now()["State"]["Name"] == state, 5)
    assert now()["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


# --- the metadata service -------------------------------------------------------------------


def imds(account: Account, instance_id: str) -> metadata.Imds:
    """The service that an instance's machine speaks to."""
    assert account.world is not None
    machine, _ = account.world._machines["aws", instance_id]
    assert isinstance(machine.metadata, metadata.Imds)
    return machine.metadata


def test_metadata_need_a_token(rented: Open) -> None:
    """Reading takes a token where the launch said so, with a time to live."""
    account = rented()
    made = run(MetadataOptions={"HttpTokens": "required"}, UserData="#!/bin/sh\n")
    ask = imds(account, made["InstanceId"])
    path = "/latest/meta-data/instance-id"
    assert ask("GET", path, {}, b"").status == 401
    assert ask("PUT", "/latest/api/token", {}, b"").status == 400
    ttl = "x-aws-ec2-metadata-token-ttl-seconds"
    assert ask("PUT", "/latest/api/token", {ttl: "21601"}, b"").status == 400
    assert ask("GET", "/latest/api/token", {}, b"").status == 405
    token = ask("PUT", "/latest/api/token", {ttl: "60"}, b"").body.decode()
    head = {"x-aws-ec2-metadata-token": token}
    assert ask("GET", path, head, b"") == Reply(200, made["InstanceId"].encode())
    assert ask("GET", "/latest/user-data", head, b"").body == b"#!/bin/sh\n"
    assert b"placement/" in ask("GET", "/latest/meta-data/", head, b"").body
    identity = json.loads(ask("GET", "/latest/dynamic/instance-identity/document", head, b"").body)
    assert identity["region"] == "us-east-1" and identity["instanceType"] == "t3.micro"
    for absent in ("/latest/meta-data/spot/instance-action", "/latest/nonsense", "/1999/x"):
        assert ask("GET", absent, head, b"").status == 404


def test_a_preemption_is_announced(rented: Open) -> None:
    """The metadata service tells when a spot instance is taken away, and then it is."""
    account = rented()
    made = run(InstanceMarketOptions={"MarketType": "spot"})
    own = made["InstanceId"]
    ask = imds(account, own)
    assert account.world is not None
    account.world.facades()[0].preempt(own, 0.5)
    told = json.loads(ask("GET", "/latest/meta-data/spot/instance-action", {}, b"").body)
    assert told["action"] == "terminate" and told["time"].endswith("Z")

    def state() -> str:
        found = boto().describe_instances(InstanceIds=[own])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    until(lambda: state() == "terminated", 5)
    [request] = boto().describe_spot_instance_requests()["SpotInstanceRequests"]
    assert request["State"] == "closed"
    assert request["Status"]["Code"] == "instance-terminated-no-capacity"


def test_the_console_is_encoded(account: Account) -> None:
    """What boto3 decodes is what the machine printed."""
    made = run()
    seen: list[str] = []
    client = boto()
    client.meta.events.register_first(
        "after-call.ec2.GetConsoleOutput", lambda parsed, **_: seen.append(parsed["Output"])
    )
    text = client.get_console_output(InstanceId=made["InstanceId"], Latest=True)["Output"]
    assert base64.b64decode(seen[0]).decode() == text
    client.terminate_instances(InstanceIds=[made["InstanceId"]])
