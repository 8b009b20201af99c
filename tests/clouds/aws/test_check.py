"""`byoc check` on AWS: what it finds, and the remedy of each finding."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
import pytest

from byoc.clock import SYSTEM, SystemClock
from byoc.errors import AccessError, ProviderError, TransientError
from byoc.providers.aws import codes, faults
from byoc.providers.aws.check import Checker
from byoc.providers.aws.provider import AwsProvider
from byoc.providers.base import Finding
from tests.clouds.accounts import Account
from tests.clouds.aws.conftest import Open, boto, fault

NOWHERE = Path("/nonexistent")


def found(findings: list[Finding], subject: str) -> list[Finding]:
    """The findings about one matter; every one that is not fine has a remedy."""
    assert all(one.remedy for one in findings if one.level != "ok"), findings
    return [one for one in findings if one.subject == subject]


def fresh(**options: str) -> AwsProvider:
    """An adapter that remembers nothing."""
    return AwsProvider(NOWHERE, SYSTEM, {}, options)


class Ahead(SystemClock):
    """A clock that is ahead of the others."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wall(self) -> float:
        return super().wall() + self._seconds


def test_a_good_account_passes(account: Account) -> None:
    """Who one is, clock, network, images, permissions, quotas, spot and the end are all fine, and
    asking has made nothing."""
    before = account.own(everything=True)
    findings = account.provider.check()
    assert {one.level for one in findings} == {"ok"}
    assert {one.subject for one in findings} == {
        "credentials", "clock", "network", "image", "image for GPUs", "permissions", "quotas",
        "spot", "self-end",
    }  # fmt: skip
    assert "arn:aws:iam::" in found(findings, "credentials")[0].message
    assert account.own(everything=True) == before and account.launches() == 1  # a dry run


def test_missing_permissions_are_named(rented: Open) -> None:
    """What byoc cannot do without fails, the rest warns; the actions are in the remedy."""
    optional = "DescribeInstanceTypeOfferings"
    account = rented(fault("RunInstances", "deny", -1) + fault(optional, "deny", -1))
    fail, warn = found(account.provider.check(), "permissions")
    assert (fail.level, warn.level) == ("fail", "warn")
    assert "ec2:RunInstances" in fail.remedy and "byoc iam aws" in fail.remedy
    assert "ec2:DescribeInstanceTypeOfferings" in warn.remedy
    # The account may decode: the resource is told, and not AWS's encoded text.
    assert "ec2:RunInstances on arn:aws:ec2:us-east-1:" in fail.message
    assert "Encoded" not in fail.message


def test_without_permission_to_decode_the_plain_words_remain(rented: Open) -> None:
    """A refusal is told in AWS's words when its encoded part cannot be read."""
    account = rented(
        fault("CreateSecurityGroup", "deny", -1) + fault("DecodeAuthorizationMessage", "deny", -1)
    )
    [one] = found(account.provider.check(), "permissions")
    assert one.level == "fail" and "is not authorized to perform: ec2:CreateSec" in one.message
    assert "Encoded" not in one.message


def test_what_may_be_done_to_ones_own_is_tried_on_ones_own(rented: Open) -> None:
    """The policy lets byoc end only what carries its tag: without such an instance that is not
    tried, and the check says so; with one, a refusal fails."""
    account = rented(fault("TerminateInstances", "deny", 1))
    [one] = found(account.provider.check(), "permissions")
    assert one.level == "ok" and "ec2:TerminateInstances" in one.message
    account.provider.launch(account.request(account.placed()))
    [one] = found(account.provider.check(), "permissions")
    assert one.level == "fail" and "ec2:TerminateInstances" in one.remedy


def test_a_missing_network_has_its_command(rented: Open) -> None:
    """Without default subnets the command that makes them is told."""
    account = rented()
    for subnet in boto().describe_subnets()["Subnets"]:
        boto().delete_subnet(SubnetId=subnet["SubnetId"])
    [one] = found(account.provider.check(), "network")
    assert one.level == "fail" and "aws ec2 create-default-vpc --region us-east-1" in one.remedy


def test_a_quota_of_nothing_has_its_command(rented: Open) -> None:
    """GPU quotas of 0 warn, each with the command that asks for more."""
    row = "[[quota]]\ncloud = 'aws'\nregion = '*'\nbucket = 'L-DB2E81BA'\nlimit = 0\n"
    warned = [o for o in found(rented(row).provider.check(), "quotas") if o.level == "warn"]
    assert len(warned) == 1 and "L-DB2E81BA" in warned[0].message
    assert "request-service-quota-increase --service-code ec2 --quota-code L-DB2E81BA" in (
        warned[0].remedy
    )


def test_the_first_spot_instance_needs_a_role(rented: Open) -> None:
    """An account without the spot role is told how to make it; who may not look is told nothing."""
    [one] = found(rented(fault("GetRole", "NoSuchEntity", -1)).provider.check(), "spot")
    assert one.level == "warn" and codes.SPOT_ROLE in one.remedy
    assert found(rented(fault("GetRole", "deny", -1)).provider.check(), "spot") == []


@pytest.mark.parametrize(("off", "level"), [(30.0, "ok"), (120.0, "warn"), (-400.0, "fail")])
def test_a_wrong_clock_is_noticed(account: Account, off: float, level: str) -> None:
    """The clock is compared with that of AWS's answers."""
    own = fresh()
    checker = Checker(own._clients, own._networks, own._images, Ahead(off))
    [one] = found(checker.run(), "clock")
    assert one.level == level


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("ExpiredToken", "aws sso login"),
        ("InvalidClientTokenId", "aws configure"),
        ("RequestExpired", "clock"),
    ],
)
def test_bad_credentials_have_their_remedy(rented: Open, code: str, remedy: str) -> None:
    """What is wrong with the credentials ends the check there, with what to do about it."""
    account = rented(fault("GetCallerIdentity", code, -1))
    findings = account.provider.check()
    [one] = found(findings, "credentials")
    assert one.level == "fail" and code in one.message and remedy in one.remedy
    assert "request " in one.message
    assert {each.subject for each in findings} <= {"credentials", "clock"}


# --- without an answer ------------------------------------------------------------------------


def test_without_boto3_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing SDK is an AccessError with its command, raised when AWS is first spoken to."""
    own = fresh()
    assert own.offers() and own.traits.regional
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(AccessError) as caught:
        own.get("us-east-1/i-0123456789abcdef0")
    assert caught.value.hints == ("pip install 'byoc-cloud[aws]'",)
    [one] = own.check()
    assert one.level == "fail" and one.remedy == "pip install 'byoc-cloud[aws]'"


def test_without_credentials_it_says_how_to_get_some(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No credentials anywhere is an AccessError that names the commands."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(AccessError) as caught:
        fresh().list({}, ["us-east-1"])
    assert caught.value.vendor_code == "NoCredentialsError" and caught.value.scope == "cloud"
    assert "aws configure" in caught.value.hints[0]


def test_a_wrong_profile_is_named(account: Account) -> None:
    """A profile that does not exist is an AccessError that says where profiles are listed."""
    with pytest.raises(AccessError) as caught:
        fresh(profile="nobody").list({}, ["us-east-1"])
    assert "nobody" in caught.value.message
    assert "aws configure list-profiles" in caught.value.hints[0]


def test_a_wrong_key_is_refused_by_signature(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulated account checks signatures as AWS does: another secret is another person."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessError) as caught:
        fresh().list({}, ["us-east-1"])
    assert caught.value.vendor_code == "AuthFailure" and caught.value.scope == "cloud"
    [one] = found(fresh().check(), "credentials")
    assert "SignatureDoesNotMatch" in one.message


def test_a_profile_of_the_settings_is_used(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The setting aws.profile has precedence over credentials in the environment."""
    key, secret = boto3.Session().get_credentials().get_frozen_credentials()[:2]
    file = tmp_path / "credentials"
    file.write_text(f"[work]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert fresh(profile="work").list({}, ["eu-west-1"]) == []


def test_nobody_there_is_a_matter_of_the_network(account: Account) -> None:
    """A refused connection may be right later; nothing was sent."""
    with pytest.raises(TransientError) as caught:
        fresh(endpoint="http://127.0.0.1:9").launch(account.request(account.placed()))
    assert caught.value.vendor_code == "EndpointConnectionError"
    assert any("network" in hint for hint in caught.value.hints)


@pytest.mark.parametrize(
    ("name", "meaning", "hint"),
    [
        ("UnauthorizedSSOTokenError", AccessError, "aws sso login --profile work"),
        ("SSOTokenLoadError", AccessError, "aws sso login --profile work"),
        ("TokenRetrievalError", AccessError, "aws sso login --profile work"),
        ("PartialCredentialsError", AccessError, "aws sso login"),
        ("CredentialRetrievalError", AccessError, "aws sso login"),
        ("ConnectTimeoutError", TransientError, "network"),
        ("ReadTimeoutError", TransientError, "network"),
        ("ConnectionClosedError", TransientError, "network"),
        ("ProxyConnectionError", TransientError, "network"),
        ("SSLError", TransientError, "network"),
    ],
)
def test_what_boto_raises_by_itself_has_a_class(
    name: str, meaning: type[ProviderError], hint: str
) -> None:
    """botocore's own exceptions become byoc's, with what to do."""
    import botocore.exceptions as own

    fields = {
        "profile_name": "work", "provider": "sso", "error_msg": "expired", "cred_var": "key",
        "endpoint_url": "http://x", "proxy_url": "http://x", "error": "e", "name": "n",
    }  # fmt: skip
    error = getattr(own, name)(**fields)
    told = faults.translate(error, profile="work")
    assert type(told) is meaning and told.vendor_code == name
    assert any(hint in one for one in told.hints), told.hints


def test_an_answer_that_is_none_is_transient() -> None:
    """Something that is no XML, as from a broken proxy, may be right when asked again."""
    from botocore.parsers import ResponseParserError

    assert type(faults.translate(ResponseParserError("<html>"))) is TransientError
    assert type(faults.translate(RuntimeError("odd"))) is TransientError
