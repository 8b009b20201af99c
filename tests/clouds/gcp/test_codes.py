"""What Google's refusals mean: each row of the table, met through Google's SDK."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import starmap
from typing import NamedTuple

import pytest

from byoc import errors
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
from byoc.providers.gcp import body, clients, codes
from byoc.providers.table import find
from tests.clouds.accounts import Account, opened
from tests.clouds.gcp.conftest import INSERT, Open, fault, offer, refusal

CPU, GPU = offer("e2-standard-2"), offer("g2-standard-4", "spot")


class Case(NamedTuple):
    """``error``: the scenario's code; ``message``: its words, empty for the usual ones."""

    error: str
    kind: type[ProviderError]
    scope: str
    remember: float
    hint: str = ""
    message: str = ""
    status: int = 0


LATER = (
    Case("ZONE_RESOURCE_POOL_EXHAUSTED", CapacityError, "offer", 300),
    Case("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", CapacityError, "offer", 300),
    Case("RESOURCE_POOL_EXHAUSTED", CapacityError, "offer", 300),
    Case("INSUFFICIENT_CAPACITY", CapacityError, "offer", 300),
    Case("CapacityExceeded", CapacityError, "offer", 300),
    Case("UNSUPPORTED_OPERATION", CapacityError, "offer", 180),
    Case("RESOURCE_NOT_FOUND", CapacityError, "offer", 180),
    Case("VM_MIN_COUNT_NOT_REACHED", CapacityError, "offer", 180),
    Case("IP_SPACE_EXHAUSTED", CapacityError, "region", 30, "subnet"),
    Case("IP_SPACE_EXHAUSTED_WITH_DETAILS", CapacityError, "region", 30, "subnet"),
    Case("QUOTA_EXCEEDED", QuotaError, "bucket", 900, "quotas"),
    Case("QUOTA_EXCEEDED:GPUS_ALL_REGIONS", QuotaError, "bucket", 900, "quotas"),
    Case("RESOURCE_EXHAUSTED", QuotaError, "bucket", 900, "quotas"),
    Case("RESOURCE_OPERATION_RATE_EXCEEDED", ThrottleError, "request", 0),
    Case("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED", ThrottleError, "request", 0),
    Case("RATE_LIMIT_EXCEEDED", ThrottleError, "request", 0),
    Case("RESOURCE_NOT_READY", TokenError, "request", 0),
    Case("RESOURCE_ALREADY_EXISTS", TokenError, "request", 0),
    Case("INTERNAL_ERROR", TransientError, "request", 0),
    Case("SERVICE_UNAVAILABLE", TransientError, "request", 0),
    Case("UNAVAILABLE", TransientError, "request", 0),
    Case("CONDITION_NOT_MET", AccessError, "cloud", 3600, "administrator"),
    Case("PERMISSIONS_ERROR", AccessError, "cloud", 3600, "role"),
    Case("VPC_NOT_FOUND", BadRequestError, "cloud", 3600, "network"),
    Case("SUBNET_NOT_FOUND_FOR_VPC", BadRequestError, "region", 3600, "network"),
    Case("INVALID_FIELD_VALUE", BadRequestError, "request", 0),
    Case("INVALID_ARGUMENT", NotOfferedError, "type@zone", 86400,
         message="Machine type with name 'g2' does not exist in zone 'us-central1-a'."),
    Case("INVALID_ARGUMENT", NotOfferedError, "type@zone", 86400,
         message="The machine type g2-standard-5 does not exist."),
    Case("INVALID_USAGE", NotOfferedError, "zone", 86400,
         message="Network profile only allows resource creation in location us-east5-b."),
    Case("FORBIDDEN", AccessError, "cloud", 3600, "role",
         message="Policy update access denied."),
    Case("8", CapacityError, "offer", 180, message="no room", status=429),
    Case("type.googleapis.com/google.rpc.QuotaFailure", QuotaError, "bucket", 900, "quotas",
         message="in region", status=429),
)  # fmt: skip
AT_ONCE = (
    Case("insufficientCapacity", CapacityError, "offer", 300),
    Case("quotaExceeded", QuotaError, "bucket", 900, "quotas"),
    Case("rateLimitExceeded", ThrottleError, "request", 0),
    Case("userRateLimitExceeded", ThrottleError, "request", 0),
    Case("429", ThrottleError, "request", 0),
    Case("somethingBusy", ThrottleError, "request", 0, message="slower", status=429),
    Case("forbidden", AccessError, "cloud", 3600, "role"),
    Case("PERMISSION_DENIED", AccessError, "cloud", 3600, "role"),
    Case("IAM_PERMISSION_DENIED", AccessError, "cloud", 3600, "role"),
    Case("accessNotConfigured", AccessError, "cloud", 3600, "gcloud services enable"),
    Case("SERVICE_DISABLED", AccessError, "cloud", 3600, "gcloud services enable"),
    Case("BILLING_DISABLED", AccessError, "cloud", 3600, "billing"),
    Case("accountDisabled", AccessError, "cloud", 3600, "billing"),
    Case("location", AccessError, "zone", 86400),
    Case("constraint", AccessError, "cloud", 3600, "administrator"),
    Case("authError", AccessError, "cloud", 3600, "gcloud auth application-default login"),
    Case("somethingElse", AccessError, "cloud", 3600, "login", message="who?", status=401),
    Case("alreadyExists", TokenError, "request", 0),
    Case("conditionNotMet", TokenError, "request", 0),
    Case("backendError", TransientError, "request", 0),
    Case("internalError", TransientError, "request", 0),
    Case("resourceNotReady", TransientError, "request", 0),
    Case("resourceInUseByAnotherResource", TransientError, "request", 0),
    Case("slow", TransientError, "request", 0, message="took too long", status=408),
    Case("invalid", BadRequestError, "request", 0),
    Case("badRequest", BadRequestError, "request", 0),
    Case("required", BadRequestError, "request", 0),
    Case("parseError", BadRequestError, "request", 0),
    Case("notFound", BadRequestError, "request", 0),
    Case("notFound", NotOfferedError, "type@zone", 86400,
         message="The resource 'projects/p/zones/z/machineTypes/g9' was not found"),
    Case("notFound", NotOfferedError, "type@zone", 86400,
         message="The resource 'projects/p/zones/z/acceleratorTypes/x' was not found"),
    Case("notFound", BadRequestError, "cloud", 3600, "gcloud compute networks create",
         message="The resource 'projects/p/global/networks/default' was not found"),
    Case("invalid", TransientError, "request", 0,
         message="Invalid value for field 'resource.scheduling.preemptionNoticeDuration'."),
    Case("invalid", BadRequestError, "request", 0,
         message="Requested disk size cannot be smaller than the image size (50 GB)"),
)  # fmt: skip


def _id(case: Case) -> str:
    return f"{case.error.rpartition('/')[2]}-{case.kind.__name__}"


CASES = (*LATER, *AT_ONCE)


def _token(number: int) -> str:
    """The token of a case; its launch's name is known from it."""
    return f"{number + 1:032x}"[::-1]


def _text(number: int, case: Case) -> str:
    """The scenario of one case; messages of Google's hold single quotes."""
    name = body.name(_token(number))
    lines = [
        f'[[fault]]\ncloud = "gcp"\nop = "{INSERT}"\nerror = "{case.error}"',
        f'times = -1\nmatch = {{ name = "{name}" }}',
    ]
    if case.message:
        lines.append(f'message = "{case.message}"')
    if case.status:
        lines.append(f"status = {case.status}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def refusing() -> Iterator[Account]:
    """One project for all cases: each launch is refused by its name."""
    with opened("emulated-gcp", "\n".join(starmap(_text, enumerate(CASES)))) as account:
        yield account


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)), ids=map(_id, CASES))
def test_each_row_has_its_class_scope_and_advice(
    refusing: Account, number: int, case: Case
) -> None:
    """A refusal becomes the class, scope, time and hint of its row, after a single insert."""
    before = refusing.requests(INSERT)
    found = refusal(refusing, GPU, _token(number))
    assert type(found) is case.kind
    assert (found.scope, found.remember) == (case.scope, case.remember)
    assert case.hint in " ".join(found.hints)
    assert found.provider == "gcp" and found.vendor_code and found.request_id
    assert not case.message or found.message == case.message
    assert refusing.requests(INSERT) == before + 1


def test_the_cases_cover_the_table() -> None:
    """No row of the table is without a case above, or a reason why it has none."""
    met = set()
    for case in CASES:
        for row in codes.ROWS:
            if row.error is case.kind and row.scope == case.scope:
                met.add((row.code, row.text, row.status))
    exceptions = {"DefaultCredentialsError", "RefreshError", "TransportError", "unreachable",
                  "Timeout", "ConnectTimeout", "ReadTimeout", "*ConnectionError",
                  "ChunkedEncodingError", "MalformedError", "Reauth*", "OAuthError",
                  "GoogleAuthError"}  # fmt: skip
    left = [row for row in codes.ROWS if (row.code, row.text, row.status) not in met]
    assert {row.code for row in left} <= exceptions


@pytest.mark.parametrize("code", ["NEVER_HEARD_OF_IT", "neverHeardOfIt"])
def test_an_unknown_code_is_never_our_mistake(
    project: Open, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    """An unknown code is logged with its request id, and leads to the next offer."""
    account = project(fault(code))
    with caplog.at_level(logging.WARNING, "byoc.providers.table"):
        found = refusal(account, CPU)
    assert isinstance(found, UnclassifiedError)
    assert (found.scope, found.vendor_code) == ("offer", code)
    assert code in caplog.text and found.request_id in caplog.text


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("There are not enough resources for this.", CapacityError),
        ("Your limit was exceeded.", QuotaError),
        ("You are not authorized to do it.", AccessError),
    ],
)
def test_an_unknown_code_is_known_by_its_words(
    project: Open, words: str, kind: type[ProviderError]
) -> None:
    """What no row knows is classed by what its message says."""
    account = project(f'[[fault]]\ncloud="gcp"\nop="{INSERT}"\nerror="NEW_ONE"\nmessage="{words}"')
    assert type(refusal(account, CPU)) is kind


def test_a_stockout_names_zones_to_try_instead(project: Open) -> None:
    """The zones that Google suggests come with the error."""
    account = project(fault("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"))
    assert refusal(account, GPU).zones == ("us-central1-b", "us-central1-c", "us-central1-f")


def test_a_stockout_that_suggests_nothing_has_no_zones(project: Open) -> None:
    """An empty suggestion is none, not a zone without a name."""
    text = '[[capacity]]\ncloud = "gcp"\nzone = "*"\ntype = "g2-*"\nmarket = "*"\ncount = 0\n'
    found = refusal(project(text), GPU)
    assert isinstance(found, CapacityError) and found.zones == ()
    assert found.vendor_code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"


@pytest.mark.parametrize(
    ("type", "market", "bucket"),
    [
        ("g2-standard-4", "spot", "PREEMPTIBLE_NVIDIA_L4_GPUS"),
        ("g2-standard-4", "on-demand", "NVIDIA_L4_GPUS"),
        ("g2-standard-4", "on-demand", "GPUS_ALL_REGIONS"),
        ("e2-standard-2", "on-demand", "CPUS"),
        ("n2-standard-2", "spot", "N2_CPUS"),
    ],
)
def test_a_quota_error_names_its_bucket(project: Open, type: str, market: str, bucket: str) -> None:
    """The quota that was exceeded is named as the survey names it."""
    text = f'[[quota]]\ncloud = "gcp"\nregion = "*"\nbucket = "{bucket}"\nlimit = 0\n'
    account = project(text)
    wanted = offer(type, market)
    found = refusal(account, wanted)
    assert isinstance(found, QuotaError) and found.bucket == bucket
    survey = account.provider.survey("us-central1", [wanted])
    assert bucket in {draw.bucket for draw in survey.draws[wanted.type, market]}


def test_a_network_that_fails_is_passing(project: Open) -> None:
    """A connection that breaks before the answer is a TransientError: the outcome is unknown."""
    account = project(fault("no-answer"))
    with pytest.raises(TransientError) as caught:
        account.provider.launch(account.request(CPU))
    assert caught.value.vendor_code == "ConnectionError"
    assert account.requests(INSERT) == 1


def test_every_kind_of_refusal_is_one_of_byocs(project: Open) -> None:
    """A failing read raises a ProviderError too, and a passing failure is asked again."""
    account = project(fault("backendError", op="compute.instances.get", times=2))
    assert account.provider.get(f"{CPU.zone}/byoc-none").state == "gone"
    assert account.requests("compute.instances.get") == 3


def test_names_of_exceptions_are_rows() -> None:
    """What google-auth and requests raise is known by the names of their classes."""
    from google.auth import exceptions as auth
    from requests import exceptions as requests

    for error, kind in (
        (auth.DefaultCredentialsError("none"), AccessError),
        (auth.RefreshError("invalid_grant"), AccessError),
        (auth.RefreshError("busy", retryable=True), TransientError),
        (auth.MalformedError("no key"), AccessError),
        (auth.GoogleAuthError("what"), AccessError),
        (auth.OAuthError("what"), AccessError),
        (auth.ReauthFailError("what"), AccessError),
        (auth.TransportError("no route"), TransientError),
        (requests.ConnectTimeout("slow"), TransientError),
        (requests.ReadTimeout("slow"), TransientError),
        (requests.SSLError("bad"), UnclassifiedError),
        (requests.ConnectionError("reset"), TransientError),
        (requests.ChunkedEncodingError("cut"), TransientError),
    ):
        assert type(clients.translate(error)) is kind, error


def test_hints_are_imperative_and_rows_are_sane() -> None:
    """Every row has a scope that exists, and remembers only what it shuts."""
    scopes = {"request", "offer", "type@zone", "zone", "bucket", "spot", "region", "cloud"}
    for row in codes.ROWS:
        assert row.scope in scopes
        assert row.remember == 0 or row.scope != "request", row
        assert issubclass(row.error, errors.ProviderError)


def test_the_words_outweigh_the_code() -> None:
    """A location that is closed to the project shuts the zone, not the cloud."""
    said = "Location us-east9-a is not found or access is unauthorized."
    row = find(codes.ROWS, clients.Answer("forbidden", said, 403))
    assert row is not None and row.scope == "zone"
