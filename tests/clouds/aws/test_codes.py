"""What EC2's refusals mean: each code sent by the emulated account as a real HTTP answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from byoc import settings
from byoc.clock import SYSTEM
from byoc.errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TokenError,
    TransientError,
    UnclassifiedError,
)
from byoc.pricing import catalog
from byoc.providers.aws import codes, faults
from byoc.providers.aws.provider import AwsProvider
from byoc.providers.aws.states import failure
from tests.clouds.accounts import Account, opened
from tests.clouds.aws.conftest import fault

ZONE = "us-east-1a"


class Case(NamedTuple):
    """A code and what it means. ``message``: when the words matter. ``remembered``: for a while."""

    code: str
    error: type[ProviderError]
    scope: str
    remembered: bool = False
    message: str = ""


_SCP = "with an explicit deny in a service control policy"
CASES = (
    *(Case(code, CapacityError, scope, True) for code, scope in (
        ("InsufficientInstanceCapacity", "offer"),
        ("InsufficientSpotCapacity", "offer"),
        ("InsufficientHostCapacity", "type@zone"),
        ("InsufficientReservedInstanceCapacity", "offer"),
        ("ReservationCapacityExceeded", "offer"),
        ("InsufficientCapacity", "type@zone"),
        ("UnfulfillableCapacity", "offer"),
        ("SpotMaxPriceTooLow", "offer"),
        ("InsufficientFreeAddressesInSubnet", "zone"),
    )),
    Case("Unsupported", NotOfferedError, "type@zone", True),
    *(Case(code, QuotaError, scope, True) for code, scope in (
        ("VcpuLimitExceeded", "bucket"),
        ("MaxSpotInstanceCountExceeded", "bucket"),
        ("InstanceLimitExceeded", "region"),
        ("MaxFleetCountExceeded", "region"),
        ("MaxSpotFleetRequestCountExceeded", "region"),
        ("TargetCapacityLimitExceededException", "region"),
        ("ResourceLimitExceeded", "region"),
        ("VolumeLimitExceeded", "region"),
        ("MaxIOPSLimitExceeded", "region"),
        ("AddressLimitExceeded", "region"),
        ("SecurityGroupLimitExceeded", "region"),
        ("RulesPerSecurityGroupLimitExceeded", "region"),
        ("VpcLimitExceeded", "region"),
        ("NetworkInterfaceLimitExceeded", "region"),
    )),
    *(Case(code, ThrottleError, "request") for code in (
        "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException",
    )),
    *(Case(code, TransientError, "request") for code in (
        "InternalError", "InternalFailure", "ServerInternal", "ServiceUnavailable", "Unavailable",
        "InvalidInstanceID.NotFound", "IncorrectInstanceState",
        "InvalidGroup.Duplicate", "InvalidKeyPair.Duplicate", "InvalidPermission.Duplicate",
        "EntityAlreadyExists",
        "InvalidGroup.NotFound",  # byoc's own group: made anew, and not known everywhere yet
    )),
    *(Case(code, AccessError, scope, True) for code, scope in (
        ("UnauthorizedOperation", "cloud"),
        ("AccessDenied", "cloud"),
        ("AccessDeniedException", "cloud"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "spot"),
        ("ExpiredToken", "cloud"),
        ("ExpiredTokenException", "cloud"),
        ("RequestExpired", "cloud"),
        ("InvalidClientTokenId", "cloud"),
        ("InvalidClientToken", "cloud"),
        ("UnrecognizedClientException", "cloud"),
        ("SignatureDoesNotMatch", "cloud"),
        ("OptInRequired", "region"),
        ("PendingVerification", "region"),
        ("Blocked", "cloud"),
    )),
    Case("UnauthorizedOperation", AccessError, "region", True, _SCP),
    Case("InvalidParameterCombination", AccessError, "region", True,
         "The specified instance type is not eligible for Free Tier"),
    *(Case(code, BadRequestError, scope) for code, scope in (
        ("InvalidAMIID.NotFound", "region"),
        ("InvalidAMIID.Malformed", "region"),
        ("InvalidAMIID.Unavailable", "region"),
        ("InvalidSubnetID.NotFound", "region"),
        ("InvalidKeyPair.NotFound", "region"),
        ("InvalidLaunchTemplateId.NotFound", "region"),
        ("InvalidLaunchTemplateName.NotFoundException", "region"),
        ("InvalidCapacityReservationId.NotFound", "region"),
        ("InvalidParameterCombination", "request"),
        ("InvalidParameterValue", "request"),
        ("InvalidParameter", "request"),
        ("InvalidUserData.Malformed", "request"),
        ("InvalidBlockDeviceMapping", "request"),
        ("MissingParameter", "request"),
        ("UnknownParameter", "request"),
    )),
    Case("InvalidParameterValue", TransientError, "request", False,
         "Value (byoc) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance"
         " Profile name"),
    Case("IdempotentParameterMismatch", TokenError, "request"),
    Case("IdempotentInstanceTerminated", TokenError, "request"),
)  # fmt: skip
STALE = (
    "InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable",
    "InvalidSubnetID.NotFound", "InvalidGroup.NotFound",
)  # fmt: skip
NO_HINT = (CapacityError, ThrottleError, TransientError, TokenError, NotOfferedError)
TYPES = [kind for kind in catalog.types("aws") if catalog.find("aws", "us-east-1", kind, "spot")]
ON_DEMAND = [
    kind for kind in catalog.types("aws") if catalog.find("aws", "us-east-1", kind, "on-demand")
]
PLACES = [*((kind, "on-demand") for kind in ON_DEMAND), *((kind, "spot") for kind in TYPES)]
"""A type and market of its own for each case, so that all share one account."""


@pytest.fixture(scope="module")
def refusing() -> Iterator[Account]:
    """An account that answers each launch with the code that stands for its type and market."""
    rows = []
    for case, (kind, market) in zip(CASES, PLACES, strict=False):
        message = f'message = "{case.message}"\n' if case.message else ""
        rows.append(
            f"[[fault]]\ncloud = 'aws'\nop = 'RunInstances'\nerror = '{case.code}'\ntimes = -1\n"
            f"{message}[fault.match]\ntype = '{kind}'\nmarket = '{market}'\n"
        )
    with opened("emulated-aws", "".join(rows)) as account:
        yield account


def test_there_is_a_place_for_each_case() -> None:
    """No two cases share a type and market."""
    assert len(CASES) <= len(PLACES)


@pytest.mark.parametrize("place", range(len(CASES)), ids=[case.code for case in CASES])
def test_a_refusal_means_what_the_table_says(refusing: Account, place: int) -> None:
    """Each code has its class and scope, keeps AWS's words and request id, says what to do where a
    person can do something, and was asked for once."""
    case, (kind, market) = CASES[place], PLACES[place]
    offer = catalog.find("aws", "us-east-1", kind, market)
    assert offer is not None and refusing.world is not None
    with pytest.raises(ProviderError) as caught:
        refusing.provider.launch(refusing.request(offer._replace(zone=ZONE)))
    error = caught.value
    told = (type(error), error.scope, error.remember > 0)
    assert told == (case.error, case.scope, case.remembered)
    spot_code = "InsufficientInstanceCapacity"
    sent = spot_code if case.code == "InsufficientSpotCapacity" else case.code
    assert error.vendor_code == sent and error.provider == "aws"
    assert error.message and len(error.request_id) == 36
    assert error.hints or issubclass(case.error, NO_HINT)
    if case.scope == "bucket":
        assert error.bucket.startswith("L-")
    asked = refusing.world.log.calls("aws", "RunInstances")
    mine = [c for c in asked if (c.facts["type"], c.facts["market"]) == (kind, market)]
    # What was prepared for an earlier launch may be gone: it is prepared anew, once.
    assert len(mine) == (2 if case.code in STALE else 1)


def test_a_named_group_that_is_not_there_is_a_mistake() -> None:
    """Unlike byoc's own group, one of the settings is never made anew: the region is left out, and
    the hint says what to look at."""
    with opened("emulated-aws", fault("RunInstances", "InvalidGroup.NotFound", -1)) as account:
        options = settings.load(account.home, os.environ).of_cloud("aws")
        named = {**options, "security_group": "sg-0123456789abcdef0"}
        provider = AwsProvider(account.home, SYSTEM, os.environ, named)
        with pytest.raises(BadRequestError) as caught:
            provider.launch(account.request(account.placed()))
    assert caught.value.scope == "region" and caught.value.hints


def test_an_unknown_code_is_an_offers_matter() -> None:
    """A code that no table knows stops nothing: the next offer is tried, and it is told."""
    text = fault("RunInstances", "HypervisorOnHoliday") + "message = 'gone fishing'\n"
    with opened("emulated-aws", text) as account, pytest.raises(UnclassifiedError) as caught:
        account.provider.launch(account.request(account.placed()))
    assert caught.value.vendor_code == "HypervisorOnHoliday"
    assert caught.value.message == "gone fishing" and caught.value.scope == "offer"


@pytest.mark.parametrize(
    ("words", "status", "meaning"),
    [
        ("there is not enough capacity for it", 400, CapacityError),
        ("your quota for this is used up", 400, QuotaError),
        ("you are not authorized", 400, AccessError),
        ("something broke", 500, TransientError),
    ],
)
def test_an_unknown_code_is_classed_by_its_words(
    words: str, status: int, meaning: type[ProviderError]
) -> None:
    """Without a row the words decide, then the status."""
    with (
        opened(
            "emulated-aws",
            "[[fault]]\ncloud = 'aws'\nop = 'RunInstances'\nerror = 'NeverHeardOf'\n"
            f"message = '{words}'\nstatus = {status}\n",
        ) as account,
        pytest.raises(meaning),
    ):
        account.provider.launch(account.request(account.placed()))


def test_zones_that_ec2_recommends_are_read() -> None:
    """The zones in EC2's own advice are told, in its order."""
    text = (
        "We currently do not have sufficient g6.xlarge capacity in the Availability Zone you"
        " requested (us-east-1a). You can currently get g6.xlarge capacity by not specifying an"
        " Availability Zone in your request or choosing us-east-1b, us-east-1d."
    )
    assert faults.zones_in(text) == ("us-east-1b", "us-east-1d")
    assert faults.zones_in("Insufficient capacity.") == ()


def test_the_missing_action_is_named() -> None:
    """From a refusal the action and its resource are read for the hint."""
    text = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/b is not"
        " authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:1:volume/*"
        " because no identity-based policy allows the ec2:CreateTags action"
    )
    assert faults.missing_action(text) == "ec2:CreateTags on arn:aws:ec2:us-east-1:1:volume/*"


@pytest.mark.parametrize(
    ("code", "error", "scope"),
    [
        ("Server.InsufficientInstanceCapacity", CapacityError, "offer"),
        ("Server.SpotInstanceTermination", CapacityError, "offer"),
        ("Server.SpotInstanceShutdown", CapacityError, "offer"),
        ("Server.InternalError", TransientError, "offer"),
        ("Server.ScheduledStop", TransientError, "offer"),
        ("Client.VolumeLimitExceeded", QuotaError, "region"),
        ("Client.InternalError", AccessError, "region"),
        ("Client.InvalidSnapshot.NotFound", BadRequestError, "region"),
    ],
)
def test_the_reason_of_an_end_has_a_class(
    code: str, error: type[ProviderError], scope: str
) -> None:
    """An instance that ended by itself says why, as a refusal would have."""
    reason = {"Code": code, "Message": f"{code}: because"}
    found = failure({"State": {"Name": "terminated"}, "StateReason": reason})
    assert type(found) is error and found.scope == scope and found.vendor_code == code


@pytest.mark.parametrize("code", sorted(codes.ASKED))
def test_an_end_that_was_asked_for_is_no_failure(code: str) -> None:
    """Our own end of an instance, and its own, are no reason to avoid the offer."""
    reason = {"Code": code, "Message": f"{code}: because"}
    assert failure({"State": {"Name": "terminated"}, "StateReason": reason}) is None
