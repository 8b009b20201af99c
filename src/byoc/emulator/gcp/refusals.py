"""How Google says no: at once by HTTP, or later by a failed operation. Texts as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_NAMES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
_USAGE = "usageLimits"


class Refusal(Exception):
    """An error answer. ``code``: its entry's ``reason``; ``more``: ErrorInfo's newer one."""

    def __init__(
        self, status: int, code: str, message: str, domain: str = "global", more: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        entry = {"message": message, "domain": domain, "reason": code}
        error: dict[str, Any] = {"code": status, "message": message, "errors": [entry]}
        if status in _NAMES:
            error["status"] = _NAMES[status]
        if more:
            info = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": info, "reason": more, "domain": "googleapis.com"}]
        self.body = {"error": error}


class Form(NamedTuple):
    """``reason``: of the HTTP error's entry; ``more``: the newer name beside it."""

    status: int
    reason: str
    message: str
    domain: str = "global"
    more: str = ""


_QUERIES = (
    "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service"
    " 'compute.googleapis.com' for consumer 'project_number:1'."
)
_OFF = (
    "Compute Engine API has not been used in project {project} before or it is disabled."
    " Enable it by visiting https://console.developers.google.com/apis/api/compute.googleapis.com."
)
_BILLING = "This API method requires billing to be enabled. Please enable billing on {project}."
_FORBIDDEN = "Required '{permission}' permission for '{target}'"
_BACKEND = "Internal error. Please try again or contact Google Support."

AT_ONCE: Mapping[str, Form] = {
    "forbidden": Form(403, "forbidden", _FORBIDDEN),
    "PERMISSION_DENIED": Form(403, "forbidden", _FORBIDDEN, more="PERMISSION_DENIED"),
    "IAM_PERMISSION_DENIED": Form(403, "forbidden", _FORBIDDEN, more="IAM_PERMISSION_DENIED"),
    "accessNotConfigured": Form(403, "accessNotConfigured", _OFF, _USAGE),
    "SERVICE_DISABLED": Form(403, "accessNotConfigured", _OFF, _USAGE, "SERVICE_DISABLED"),
    "BILLING_DISABLED": Form(403, "forbidden", _BILLING, more="BILLING_DISABLED"),
    "accountDisabled": Form(403, "accountDisabled", "The account has been disabled."),
    "location": Form(
        403, "forbidden", "Location {zone} is not found or access is unauthorized."
    ),
    "rateLimitExceeded": Form(403, "rateLimitExceeded", _QUERIES, _USAGE),
    "userRateLimitExceeded": Form(403, "userRateLimitExceeded", _QUERIES, _USAGE),
    "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED": Form(
        403, "rateLimitExceeded", "Concurrent operations limit exceeded.", _USAGE,
        "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
    ),
    "quotaExceeded": Form(
        403, "quotaExceeded", "Quota '{metric}' exceeded.  Limit: 0.0 in region {region}.", _USAGE
    ),
    "insufficientCapacity": Form(
        503, "insufficientCapacity", "The zone '{zone}' does not have enough resources available."
    ),
    "authError": Form(401, "authError", "Request had invalid authentication credentials."),
    "backendError": Form(503, "backendError", "Backend Error"),
    "internalError": Form(500, "internalError", _BACKEND),
    "notFound": Form(404, "notFound", "The resource '{target}' was not found"),
    "alreadyExists": Form(409, "alreadyExists", "The resource '{target}' already exists"),
    "conditionNotMet": Form(412, "conditionNotMet", "The condition is not met."),
    "resourceNotReady": Form(400, "resourceNotReady", "The resource '{target}' is not ready"),
    "resourceInUseByAnotherResource": Form(
        400, "resourceInUseByAnotherResource", "The resource '{target}' is in use."
    ),
    "badRequest": Form(400, "badRequest", "Bad Request"),
    "invalid": Form(400, "invalid", "Invalid value for field 'resource'."),
    "required": Form(400, "required", "Required field 'resource' not specified"),
    "constraint": Form(
        412, "conditionNotMet",
        "Constraint constraints/compute.vmExternalIpAccess violated for project {project}.",
    ),
}  # fmt: skip
"""By code of the scenario: answers that come at once."""
_NUMBERS = {"401": "authError", "403": "forbidden", "404": "notFound", "429": "rateLimitExceeded",
            "500": "internalError", "503": "backendError"}  # fmt: skip

LATER: Mapping[str, tuple[int, str, str]] = {
    "QUOTA_EXCEEDED": (403, "FORBIDDEN", "Quota '{metric}' exceeded.  Limit: {limit} {where}."),
    "INTERNAL_ERROR": (500, "INTERNAL SERVER ERROR", "Internal error. Please try again."),
    "SERVICE_UNAVAILABLE": (503, "SERVICE UNAVAILABLE", "The service is unavailable."),
    "RESOURCE_OPERATION_RATE_EXCEEDED": (
        403, "FORBIDDEN", "Operation rate exceeded for resource '{target}'.",
    ),
    "RESOURCE_NOT_FOUND": (404, "NOT FOUND", "The resource '{target}' was not found"),
    "RESOURCE_NOT_READY": (400, "BAD REQUEST", "The resource '{target}' is not ready"),
    "IP_SPACE_EXHAUSTED": (403, "FORBIDDEN", "IP space of 'subnetworks/default' is exhausted."),
    "IP_SPACE_EXHAUSTED_WITH_DETAILS": (
        403, "FORBIDDEN", "IP space of 'subnetworks/default' is exhausted.",
    ),
    "CONDITION_NOT_MET": (
        412, "PRECONDITION FAILED",
        "Constraint constraints/compute.vmExternalIpAccess violated for project {project}.",
    ),
    "PERMISSIONS_ERROR": (403, "FORBIDDEN", _FORBIDDEN),
    "UNSUPPORTED_OPERATION": (400, "BAD REQUEST", "Instance was preempted while being created."),
    "VM_MIN_COUNT_NOT_REACHED": (400, "BAD REQUEST", "Requested minimum count was not reached."),
}  # fmt: skip
"""By code of a failed operation: status, its name, text."""
_STOCKOUTS = ("ZONE_RESOURCE_POOL_EXHAUSTED", "RESOURCE_POOL_EXHAUSTED", "INSUFFICIENT_CAPACITY",
              "CapacityExceeded")  # fmt: skip
_TROUBLE = "https://cloud.google.com/compute/docs/resource-error"


class Failure(NamedTuple):
    """Why an operation failed. ``entry``: an element of its ``error.errors``."""

    status: int
    status_name: str
    entry: dict[str, Any]

    @property
    def code(self) -> str:
        """Google's code."""
        return str(self.entry["code"])

    @property
    def message(self) -> str:
        """Google's words."""
        return str(self.entry["message"])


class Words(NamedTuple):
    """What texts speak of. ``others``: zones that are said to have capacity."""

    project: str
    target: str
    zone: str = ""
    region: str = ""
    type: str = ""
    attachment: str = ""
    metric: str = "NVIDIA_L4_GPUS"
    limit: float = 0.0
    permission: str = "compute.instances.create"
    others: tuple[str, ...] = ()

    def fill(self, text: str) -> str:
        """``text`` with these words in place."""
        where = "globally" if self.metric.endswith("ALL_REGIONS") else f"in region {self.region}"
        return text.format(**self._asdict(), where=where)


def at_once(code: str, message: str, status: int, words: Words) -> Refusal | None:
    """The answer for a code that comes at once; None for one of operations.

    A code that is in neither table comes at once when it is written as reasons are, or when the
    scenario gives its status.
    """
    form = AT_ONCE.get(_NUMBERS.get(code, code))
    if form is None:
        if code.isupper() and not status:
            return None
        if code in LATER or code.startswith(_STOCKOUTS):
            return None
        form = Form(status or 400, code, f"{code}: this is all that is known.")
    if code == "429":
        form = form._replace(status=429)
    text = message or words.fill(form.message)
    return Refusal(status or form.status, form.reason, text, form.domain, form.more)


def later(code: str, message: str, status: int, words: Words) -> Failure:
    """The failure of an operation, in the shape that Google gives it.

    ``QUOTA_EXCEEDED:METRIC`` names the metric; the name of one that counts for all regions alone
    stands for its refusal.
    """
    code, _, metric = code.partition(":")
    if code.endswith("_ALL_REGIONS"):
        code, metric = "QUOTA_EXCEEDED", code
    words = words._replace(metric=metric) if metric else words
    if code.startswith(_STOCKOUTS):
        return _stockout(code, message, words)
    usual, name, text = LATER.get(code, (400, "BAD REQUEST", code.replace("_", " ").lower()))
    entry: dict[str, Any] = {"code": code, "message": message or words.fill(text)}
    if code == "QUOTA_EXCEEDED":
        everywhere = words.metric.endswith("ALL_REGIONS")
        info = {
            "metricName": f"compute.googleapis.com/{words.metric.lower()}",
            "limitName": words.metric.replace("_", "-") + "-per-project-region" * (not everywhere),
            "limit": words.limit,
            "dimensions": {} if everywhere else {"region": words.region},
        }
        entry["errorDetails"] = [{"quotaInfo": info}]
    return Failure(status or usual, name, entry)


def _stockout(code: str, message: str, words: Words) -> Failure:
    place = f"projects/{words.project}/zones/{words.zone}"
    entry: dict[str, Any] = {
        "code": code,
        "message": message
        or f"The zone '{place}' does not have enough resources available to fulfill the request."
        "  '(resource type:compute)'.",
    }
    if code.endswith("_WITH_DETAILS"):
        others = ",".join(words.others)
        thing = f"{words.type} VM instance" + f" with {words.attachment}" * bool(words.attachment)
        hint = f" Consider trying your request in the {others} zone(s)." if others else ""
        told = f"A {thing} is currently unavailable in the {words.zone} zone.{hint}"
        entry["errorDetails"] = [
            {"help": {"links": [{"description": "Troubleshooting", "url": _TROUBLE}]}},
            {"localizedMessage": {"locale": "en-US", "message": told}},
            {
                "errorInfo": {
                    "reason": "resource_availability",
                    "domain": "compute.googleapis.com",
                    "metadatas": {
                        "vmType": words.type,
                        "zone": words.zone,
                        "attachment": words.attachment.replace(" ", ":"),
                        "zonesAvailable": others,
                    },
                }
            },
        ]
    return Failure(503, "SERVICE UNAVAILABLE", entry)
