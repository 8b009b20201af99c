"""Clients that are not ours see what the adapters made, and can end it.

An emulator that only its own adapter talks to would share the adapter's misunderstandings. Here
Amazon's and Oracle's own command lines and Apache Libcloud look at the same emulated accounts; each
runs in an environment of its own, which ``tools/witnesses.py`` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from byoc.providers.base import Instance
from tests.clouds.accounts import Account, opened
from tools import witnesses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WAIT = 60.0
"""Seconds for one command; Oracle's command line takes two to start."""
MANAGED = "byoc-managed"
"""What the adapters add to the tags of a launch."""


def told(command: list[str | Path]) -> Any:
    """What a witness says, as JSON; None when it says nothing. It must succeed."""
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def program(name: str, of: str = "") -> Path:
    """A witness's program; the test is skipped where the witnesses were not set up."""
    found = witnesses.program(name, of=of)
    if found is None:
        pytest.skip("no witnesses here; make them by .venv/bin/python tools/witnesses.py")
    return found


@contextmanager
def rented(cloud: str, market: str = "spot") -> Iterator[tuple[Account, Instance]]:
    """An emulated account in which the adapter has an instance that runs."""
    with opened(f"emulated-{cloud}") as account:
        launched = account.provider.launch(account.request(account.placed(market)))
        yield account, account.running(launched.id)


def gone(account: Account, instance: Instance) -> bool:
    """Whether the adapter knows of an end that it did not ask for, and lists nothing any more."""
    return account.ended(instance.id).state == "gone" and account.own() == []


# --- Amazon's command line -------------------------------------------------------------------


@pytest.fixture
def aws() -> Callable[..., Any]:
    """Runs ``aws ec2 ...`` and returns what it says."""
    line = program("aws", of="awscli")
    return lambda *words: told([line, "ec2", *words, "--output", "json"])


def test_awscli_sees_and_ends_an_instance(aws: Callable[..., Any]) -> None:
    """Amazon's own client lists the instance with its tags and can terminate it."""
    with rented("aws") as (account, instance):
        region, _, own = instance.id.partition("/")
        asked = ("--region", region, "--instance-ids", own)
        (seen,) = aws("describe-instances", *asked)["Reservations"][0]["Instances"]
        assert (seen["State"]["Name"], seen["InstanceType"]) == ("running", instance.offer.type)
        assert seen["PublicIpAddress"] == instance.address
        assert seen["InstanceLifecycle"] == "spot"
        assert seen["Placement"]["AvailabilityZone"] == instance.offer.zone
        assert dict(instance.tags).items() <= aws_tags(seen).items()
        ended = aws("terminate-instances", *asked)
        assert ended["TerminatingInstances"][0]["InstanceId"] == own
        assert gone(account, instance)


def test_awscli_sees_the_tags_of_all_that_was_made(aws: Callable[..., Any]) -> None:
    """Disk and network card carry the launch's tags; the security group lets one address in."""
    with rented("aws") as (_, instance):
        region, _, own = instance.id.partition("/")
        where = ("--region", region, "--filters")
        disks = aws("describe-volumes", *where, f"Name=attachment.instance-id,Values={own}")
        cards = aws(
            "describe-network-interfaces", *where, f"Name=attachment.instance-id,Values={own}"
        )
        for thing in (*disks["Volumes"], *cards["NetworkInterfaces"]):
            tags = aws_tags(thing)
            assert dict(instance.tags).items() <= tags.items() and tags[MANAGED] == "1"
        (group,) = aws("describe-security-groups", *where, f"Name=tag:{MANAGED},Values=1")[
            "SecurityGroups"
        ]
        rules = group["IpPermissions"]
        assert [(r["FromPort"], r["ToPort"]) for r in rules] == [(instance.port, instance.port)]
        assert [r["CidrIp"] for r in rules[0]["IpRanges"]] == ["127.0.0.1/32"]


def test_what_awscli_made_is_none_of_byocs(aws: Callable[..., Any]) -> None:
    """An instance that somebody else launched in the account is never listed."""
    with rented("aws") as (account, instance):
        region, _, own = instance.id.partition("/")
        asked = ("--region", region, "--instance-ids", own)
        (seen,) = aws("describe-instances", *asked)["Reservations"][0]["Instances"]
        more = ("--instance-type", seen["InstanceType"], "--image-id", seen["ImageId"])
        (theirs,) = aws("run-instances", "--region", region, *more)["Instances"]
        for everything in (False, True):
            found = {thing.id for thing in account.provider.list({}, [region], everything)}
            assert f"{region}/{theirs['InstanceId']}" not in found and instance.id in found


def aws_tags(thing: dict[str, Any]) -> dict[str, str]:
    """The tags of one of Amazon's records; a network card's have another name."""
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags") or thing.get("TagSet") or []}


# --- Oracle's command line -------------------------------------------------------------------


@pytest.fixture
def oci() -> Callable[..., Any]:
    """Runs ``oci ...`` against the emulated account and returns what it says."""
    line = program("oci", of="oci-cli")
    return lambda *words: told([line, "--endpoint", os.environ["OCI_CLI_ENDPOINT"], *words])


def test_oci_cli_sees_and_ends_an_instance(oci: Callable[..., Any]) -> None:
    """Oracle's own client lists the instance with its tags and can terminate it."""
    with rented("oci", "on-demand") as (account, instance):
        seen = oci("compute", "instance", "get", "--instance-id", instance.id)["data"]
        assert seen["lifecycle-state"] == "RUNNING"
        assert instance.offer.type.startswith(seen["shape"])
        assert seen["availability-domain"].endswith(instance.offer.zone)
        assert dict(instance.tags).items() <= seen["freeform-tags"].items()
        assert seen["freeform-tags"][MANAGED] == "1"
        listed = oci(
            "compute", "instance", "list", "--compartment-id", seen["compartment-id"]
        )["data"]  # fmt: skip
        assert [one["id"] for one in listed] == [instance.id]
        oci("compute", "instance", "terminate", "--instance-id", instance.id, "--force")
        assert gone(account, instance)


def test_oci_cli_sees_the_address_and_the_network(oci: Callable[..., Any]) -> None:
    """The network card has the address that the adapter told; the network carries byoc's tags."""
    with rented("oci", "on-demand") as (_, instance):
        (card,) = oci("compute", "instance", "list-vnics", "--instance-id", instance.id)["data"]
        assert card["public-ip"] == instance.address
        where = ("--compartment-id", card["compartment-id"])
        (network,) = oci("network", "vcn", "list", *where)["data"]
        assert network["freeform-tags"][MANAGED] == "1"


# --- Apache Libcloud -------------------------------------------------------------------------


@pytest.fixture
def libcloud(tmp_path: Path) -> Callable[..., Any]:
    """Runs Libcloud's GCE driver in a zone and returns what it says."""
    python = program("python", of="libcloud")
    source = Path(__file__).parent / "programs" / "libcloud_gce.py"

    def run(zone: str, *words: str) -> Any:
        key = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
        cached = tmp_path / "token.json"
        cached.write_text(json.dumps(access_token(key)))
        endpoint, project = os.environ["BYOC_GCP_ENDPOINT"], os.environ["BYOC_GCP_PROJECT"]
        return told([python, source, endpoint, project, zone, key, cached, *words])

    return run


def access_token(key: Path) -> dict[str, str]:
    """A token from the emulated account for a service account's key, as Libcloud caches one."""
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    scopes = ["https://www.googleapis.com/auth/compute"]
    made = service_account.Credentials.from_service_account_file(key, scopes=scopes)
    credentials = made.with_universe_domain("emulated.invalid")  # nothing else is asked of Google
    credentials.refresh(Request())
    return {
        "access_token": credentials.token,
        "token_type": "Bearer",
        "expire_time": credentials.expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def test_libcloud_sees_and_ends_an_instance(libcloud: Callable[..., Any]) -> None:
    """A client with its own idea of Google's API lists the instance and can destroy it."""
    with rented("gcp") as (account, instance):
        zone, _, name = instance.id.partition("/")
        (seen,) = libcloud(zone, "list")
        assert (seen["name"], seen["zone"], seen["state"]) == (name, zone, "RUNNING")
        assert seen["type"] == instance.offer.type.partition("+")[0]
        assert seen["addresses"] == [instance.address]
        assert seen["labels"][MANAGED] == "1"
        assert set(instance.tags) <= set(seen["labels"])
        assert "user-data" in seen["metadata"]
        assert [disk["labels"][MANAGED] for disk in seen["disks"]] == ["1"]
        assert libcloud(zone, "destroy", name) is True
        assert gone(account, instance)


def test_what_libcloud_made_is_none_of_byocs(libcloud: Callable[..., Any]) -> None:
    """An instance that somebody else launched in the project is never listed."""
    with rented("gcp") as (account, instance):
        zone = instance.offer.zone
        assert libcloud(zone, "create", "somebody-elses")["name"] == "somebody-elses"
        names = {node["name"] for node in libcloud(zone, "list")}
        assert names == {"somebody-elses", instance.id.partition("/")[2]}
        for everything in (False, True):
            found = account.provider.list({}, [account.region], everything)
            assert not [thing for thing in found if "somebody-elses" in thing.id]
            assert instance.id in {thing.id for thing in found}
