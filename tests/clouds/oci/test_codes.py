"""Refusals of OCI, through its own SDK: class, scope, how long remembered, what to do."""

from __future__ import annotations

import logging
from typing import NamedTuple

import pytest

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
from byoc.providers.oci import codes
from byoc.providers.table import Answer, find
from tests.clouds.oci.conftest import GPU, MakeTenancy, offer, request

LIMITS = (
    "The following service limits were exceeded: gpu-a10-count. Request a service limit increase "
    "from the service limits page in the console. "
)


class Case(NamedTuple):
    """A refusal and what it must become. ``hint``: a word of what the user is told to do."""

    code: str
    status: int
    message: str
    error: type[ProviderError]
    scope: str = "request"
    remembered: bool = False
    hint: str = ""
    bucket: str = ""


CASES = (
    Case("InternalError", 500, "Out of host capacity.", CapacityError, "offer", True),
    Case("InternalServerError", 500, "Out of host capacity.", CapacityError, "offer", True),
    Case(
        "InternalError", 500,
        "Out of capacity for shape VM.GPU.A10.1 in availability domain AD-1 and fault domain "
        "FAULT-DOMAIN-1. Try creating the instance without specifying fault domain.",
        CapacityError, "offer", True,
    ),
    Case("LimitExceeded", 400, LIMITS, QuotaError, "bucket", True, "Limits", "gpu-a10-count"),
    Case("LimitExceeded", 400, "Limit reached.", QuotaError, "type@zone", True, "Limits"),
    Case("QuotaExceeded", 400, "A quota is exceeded.", QuotaError, "type@zone", True, "quotas"),
    Case("TooManyRequests", 429, "Too many requests for the user", ThrottleError, hint="Wait"),
    Case("Busy", 429, "Please slow down", ThrottleError, hint="Wait"),
    Case(
        "NotAuthenticated", 401, "The required information was not provided or was incorrect.",
        AccessError, "cloud", True, "oci session authenticate",
    ),
    Case(
        "NotAuthenticated", 401, "Date is out of the allowed clock skew", AccessError, "cloud",
        True, "clock",
    ),
    Case("NotAuthorized", 403, "No.", AccessError, "cloud", True, "policy"),
    Case("NotAllowed", 403, "Not here.", AccessError, "cloud", True, "policy"),
    Case("NotAllowed", 403, "Go to your home region", AccessError, "cloud", True, "home region"),
    Case("SignUpRequired", 403, "Opt in first.", AccessError, "cloud", True, "sign"),
    Case("Something", 403, "No.", AccessError, "cloud", True, "policy"),
    Case("Something", 401, "No.", AccessError, "cloud", True, "oci session"),
    Case(
        "NotAuthorizedOrNotFound", 404, "shape VM.GPU.A10.1 not found", NotOfferedError,
        "type@zone", True,
    ),
    Case(
        "InvalidParameter", 400, "Shape VM.GPU.A10.1 is not available in AD-1", NotOfferedError,
        "type@zone", True,
    ),
    Case(
        "InvalidParameter", 400, "Shape VM.GPU.A10.1 does not support preemptible instances",
        NotOfferedError, "offer", True, "on-demand",
    ),
    Case(
        "InvalidParameter", 400, "Shape VM.GPU.A10.1 is not valid for image ocid1.image.x",
        BadRequestError, hint="oci.image",
    ),
    Case("InvalidParameter", 400, "displayName is too long", BadRequestError, hint="Report"),
    Case("MissingParameter", 400, "x must not be null", BadRequestError, hint="Report"),
    Case("CannotParseRequest", 400, "No JSON", BadRequestError, hint="Report"),
    Case(
        "RelatedResourceNotAuthorizedOrNotFound", 400, "subnet not found", BadRequestError,
        hint="oci.subnet",
    ),
    Case("InvalidatedRetryToken", 409, "used before", TokenError),
    Case("Conflict", 409, "exists", TokenError),
    Case("IncorrectState", 409, "changing", TransientError),
    Case("ExternalServerIncorrectState", 409, "changing", TransientError),
    Case("LockConflict", 409, "locked", TransientError),
    Case("NoEtagMatch", 412, "changed since its etag was given", TransientError),
    Case("InternalError", 500, "An internal server error occurred.", TransientError),
    Case("InternalServerError", 500, "It broke.", TransientError),
    Case("ServiceUnavailable", 503, "Later.", TransientError),
    Case("GatewayTimeout", 504, "Later.", TransientError),
    Case("BadGateway", 502, "Later.", TransientError),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.status}-{case.code}")
def test_a_refused_launch_is_the_error_of_its_row(case: Case, tenancy_with: MakeTenancy) -> None:
    """Each refusal of a launch gives class, scope, memory, advice, and OCI's own words and id,
    after one request."""
    fault = f"""
        [[fault]]
        cloud = "oci"
        op = "LaunchInstance"
        error = "{case.code}"
        message = "{case.message}"
        status = {case.status}
        times = -1
    """
    tenancy = tenancy_with(fault)
    with pytest.raises(ProviderError) as caught:
        tenancy.provider.launch(request(offer(GPU)))
    error = caught.value
    assert type(error) is case.error
    assert (error.scope, error.bucket) == (case.scope, case.bucket)
    assert (error.remember > 0) is case.remembered
    assert case.hint.lower() in " ".join(error.hints).lower()
    assert (error.vendor_code, error.message) == (case.code, case.message.strip())
    assert len(error.request_id) >= 32
    assert len(tenancy.calls("LaunchInstance")) == 1


def test_every_row_is_met_by_a_case() -> None:
    """Each row of the table answers at least one case here, or one of the tests beside it."""
    elsewhere = {
        codes.ENDED_EARLY, codes.PREEMPTED, "*OutOfHostCapacity*", "*OutOfCapacity*",
        "NotSubscribed", "ConfigFileNotFound", "ProfileNotFound", "InvalidConfig",
        "InvalidKeyFilePath", "MissingPrivateKeyPassphrase", "InvalidPrivateKey",
        "InvalidResourcePrincipalArguments", "Timeout", "ConnectionFailed",
        "NotAuthorizedOrNotFound",
    }  # fmt: skip
    answers = [Answer(case.code, case.message, case.status) for case in CASES]
    answers.append(Answer("Whatever", LIMITS, 400))
    met = [find(codes.ROWS, answer) for answer in answers]
    left = [row for row in codes.ROWS if row not in met and row.code not in elsewhere]
    assert left == []


def test_an_unknown_code_does_not_stop_a_failover(
    tenancy_with: MakeTenancy, caplog: pytest.LogCaptureFixture
) -> None:
    """A code that no row knows is logged as unclassified, kept to this offer, and retryable."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "LaunchInstance"\nerror = "Bewildered"\nstatus = 418\n'
        'message = "I am a teapot"'
    )
    with caplog.at_level(logging.WARNING), pytest.raises(UnclassifiedError) as caught:
        tenancy.provider.launch(request())
    assert caught.value.scope == "offer" and caught.value.retryable
    assert "unclassified" in caplog.text and "Bewildered" in caplog.text


def test_a_failed_work_request_is_classified_like_an_answer() -> None:
    """The words decide, for a work request has no status and codes of its own."""
    for code in ("InternalError", "OutOfHostCapacity", "OUT_OF_HOST_CAPACITY"):
        assert isinstance(codes.of(Answer(code, "Out of host capacity.")), CapacityError)
    assert isinstance(codes.of(Answer("OutOfHostCapacity", "No hosts")), CapacityError)


def test_a_404_is_a_missing_permission_when_nothing_may_be_listed(
    tenancy_with: MakeTenancy,
) -> None:
    """The launch's 404 stays an access error of the whole cloud when the list call is refused."""
    tenancy = tenancy_with(_absent("LaunchInstance") + _absent("ListInstances"))
    with pytest.raises(AccessError) as caught:
        tenancy.provider.launch(request())
    assert caught.value.scope == "cloud"
    assert "byoc iam oci" in caught.value.hints[0]


def test_a_404_is_a_missing_launch_permission_when_things_are_there(
    tenancy_with: MakeTenancy,
) -> None:
    """When instances can be listed, and image and subnet are there, the user may not launch."""
    tenancy = tenancy_with(_absent("LaunchInstance"))
    with pytest.raises(AccessError) as caught:
        tenancy.provider.launch(request())
    assert "manage instance-family" in caught.value.hints[0]
    assert len(tenancy.calls("LaunchInstance")) == 1


def test_a_404_is_a_missing_thing_when_it_is_gone(tenancy_with: MakeTenancy) -> None:
    """A subnet of the settings that does not exist is a wrong request, which names it."""
    tenancy = tenancy_with(subnet="ocid1.subnet.oc1.iad.nothing")
    with pytest.raises(BadRequestError) as caught:
        tenancy.provider.launch(request())
    assert "subnet" in caught.value.message and "oci.subnet" in caught.value.hints[0]


def _absent(op: str) -> str:
    return f'[[fault]]\ncloud = "oci"\nop = "{op}"\nerror = "NotAuthorizedOrNotFound"\ntimes = -1\n'
