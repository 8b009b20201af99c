"""What Compute Engine's refusals mean, as data.

Codes are those of failed operations (``ZONE_RESOURCE_POOL_EXHAUSTED``), the ``reason`` of an HTTP
error (``quotaExceeded``), or the name of an exception of google-auth. 403 alone means four things
and a stockout is a 200 whose operation fails, so a status is never enough. Sources: the clouds'
documentation, the SDK, and the lists of SkyPilot, Karpenter, cluster-autoscaler and dstack.
"""

from __future__ import annotations

from ...errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    QuotaError,
    ThrottleError,
    TokenError,
    TransientError,
)
from ..table import Row

STOCKOUT, BRIEF = 300.0, 180.0
"""Stockouts last minutes to hours; a preemption while booting says less."""
QUOTA = 900.0
"""A raised quota is seen within a quarter of an hour."""
HOUR, DAY = 3600.0, 86400.0

LOGIN = "Run: gcloud auth application-default login"
ENABLE = "Run: gcloud services enable compute.googleapis.com"
BILLING = "Link a billing account: https://console.cloud.google.com/billing/projects"
GRANT = "Grant the roles that `byoc iam gcp` prints to the account that `byoc check` shows."
RAISE = "Ask for more: https://console.cloud.google.com/iam-admin/quotas"
POLICY = "An organisation policy forbids it: ask its administrator for an exception."
NETWORK = "Make it (gcloud compute networks create default) or set gcp.network."

NO_NOTICE = "preemption.?notice"
"""In a refusal of the notice before a preemption, which is new and not everybody's yet."""

ROWS: tuple[Row, ...] = (
    # Words that outweigh the code they come with.
    Row("*", AccessError, "cloud", HOUR, POLICY, text=r"constraints/\w"),
    Row("*", AccessError, "zone", DAY, text="is not found or access is unauthorized"),
    Row("*", NotOfferedError, "zone", DAY, text="only allows resource creation in location"),
    Row("*", BadRequestError, text="disk size cannot be smaller than the image size"),
    Row("*", AccessError, "cloud", HOUR, ENABLE, "API has not been used in project"),
    Row("*", AccessError, "cloud", HOUR, BILLING, "requires billing|billing .*(disabled|closed)"),
    Row("*", TransientError, text=NO_NOTICE),  # asked again, without it
    # No room now.
    Row("ZONE_RESOURCE_POOL_EXHAUSTED*", CapacityError, "offer", STOCKOUT),
    Row("RESOURCE_POOL_EXHAUSTED*", CapacityError, "offer", STOCKOUT),
    Row("INSUFFICIENT_CAPACITY", CapacityError, "offer", STOCKOUT),
    Row("insufficientCapacity", CapacityError, "offer", STOCKOUT),
    Row("CapacityExceeded", CapacityError, "offer", STOCKOUT),
    Row("UNSUPPORTED_OPERATION", CapacityError, "offer", BRIEF),  # preempted while being made
    Row("RESOURCE_NOT_FOUND", CapacityError, "offer", BRIEF),  # it vanished while being made
    Row("VM_MIN_COUNT_NOT_REACHED", CapacityError, "offer", BRIEF),  # a wrapper, without its cause
    Row("IP_SPACE_EXHAUSTED*", CapacityError, "region", 30.0, "Give the subnet a larger range."),
    Row("[389]", CapacityError, "offer", BRIEF),  # numbers of newer APIs: preempted, none, short
    # Asked too often.
    Row("RESOURCE_OPERATION_RATE_EXCEEDED", ThrottleError),
    Row("CONCURRENT_OPERATIONS_QUOTA_EXCEEDED", ThrottleError),
    Row("rateLimitExceeded", ThrottleError),
    Row("userRateLimitExceeded", ThrottleError),
    Row("RATE_LIMIT_EXCEEDED", ThrottleError),
    # The account may not hold more.
    Row("QUOTA_EXCEEDED", QuotaError, "bucket", QUOTA, RAISE),
    Row("quotaExceeded", QuotaError, "bucket", QUOTA, RAISE),
    Row("RESOURCE_EXHAUSTED", QuotaError, "bucket", QUOTA, RAISE),
    Row("*QuotaFailure", QuotaError, "bucket", QUOTA, RAISE),
    Row("*", ThrottleError, status=429),
    # The name or the token is taken.
    Row("alreadyExists", TokenError),
    Row("RESOURCE_ALREADY_EXISTS", TokenError),
    Row("conditionNotMet", TokenError),
    Row("RESOURCE_NOT_READY", TokenError),  # the name is still being deleted
    Row("CONDITION_NOT_MET", AccessError, "cloud", HOUR, POLICY),
    # Not sold there.
    Row("*", NotOfferedError, "type@zone", DAY, text="does not exist in zone"),
    Row("*", NotOfferedError, "type@zone", DAY, text=r"machineTypes/\S+ was not found"),
    Row("*", NotOfferedError, "type@zone", DAY, text=r"acceleratorTypes/\S+ was not found"),
    Row("*", NotOfferedError, "type@zone", DAY, text=r"machine type \S+ does not exist"),
    # Nobody, or nobody who may.
    Row("DefaultCredentialsError", AccessError, "cloud", HOUR, LOGIN),
    Row("RefreshError", AccessError, "cloud", HOUR, LOGIN),
    Row("MalformedError", AccessError, "cloud", HOUR, LOGIN),
    Row("Reauth*", AccessError, "cloud", HOUR, LOGIN),
    Row("OAuthError", AccessError, "cloud", HOUR, LOGIN),
    Row("GoogleAuthError", AccessError, "cloud", HOUR, LOGIN),
    Row("authError", AccessError, "cloud", HOUR, LOGIN),
    Row("UNAUTHENTICATED", AccessError, "cloud", HOUR, LOGIN),
    Row("*", AccessError, "cloud", HOUR, LOGIN, status=401),
    Row("accessNotConfigured", AccessError, "cloud", HOUR, ENABLE),
    Row("SERVICE_DISABLED", AccessError, "cloud", HOUR, ENABLE),
    Row("BILLING_DISABLED", AccessError, "cloud", HOUR, BILLING),
    Row("accountDisabled", AccessError, "cloud", HOUR, BILLING),
    Row("forbidden", AccessError, "cloud", HOUR, GRANT),
    Row("PERMISSIONS_ERROR", AccessError, "cloud", HOUR, GRANT),
    Row("*PERMISSION_DENIED", AccessError, "cloud", HOUR, GRANT),
    Row("*", AccessError, "cloud", HOUR, GRANT, text="policy update access denied"),
    # Our request, or the settings it was made from.
    Row("VPC_NOT_FOUND", BadRequestError, "cloud", HOUR, NETWORK),
    Row("SUBNET_NOT_FOUND_FOR_VPC", BadRequestError, "region", HOUR, NETWORK),
    Row("*", BadRequestError, "cloud", HOUR, NETWORK, text=r"global/networks/\S+ was not found"),
    Row("notFound", BadRequestError),
    Row("invalid*", BadRequestError),
    Row("INVALID_*", BadRequestError),
    Row("badRequest", BadRequestError),
    Row("required", BadRequestError),
    Row("parseError", BadRequestError),
    # It failed to answer, or is not ready to.
    Row("INTERNAL_ERROR", TransientError),
    Row("backendError", TransientError),
    Row("internalError", TransientError),
    Row("SERVICE_UNAVAILABLE", TransientError),
    Row("ServiceUnavailable", TransientError),
    Row("UNAVAILABLE", TransientError),
    Row("resourceNotReady", TransientError),
    Row("resourceInUseByAnotherResource", TransientError),
    Row("unreachable", TransientError),
    Row("TransportError", TransientError),
    Row("Timeout", TransientError),
    Row("ConnectTimeout", TransientError),
    Row("ReadTimeout", TransientError),
    Row("*ConnectionError", TransientError),
    Row("ChunkedEncodingError", TransientError),
    Row("*", TransientError, status=408),
)
