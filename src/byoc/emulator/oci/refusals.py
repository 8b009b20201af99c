"""What the emulated cloud says when it says no."""

from __future__ import annotations

from collections.abc import Mapping

from ..ports import Fault


class Refusal(Exception):
    """An answer that is an error: HTTP status, the cloud's code and its words. ``asked_for``: the
    scenario wants it, not the cloud."""

    def __init__(self, status: int, code: str, message: str, asked_for: bool = False) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.asked_for = asked_for


NOT_FOUND = "Authorization failed or requested resource not found."
NOT_AUTHENTICATED = (
    "The required information to complete authentication was not provided or was incorrect."
)
OUT_OF_CAPACITY = "Out of host capacity."
LIMIT = (
    "The following service limits were exceeded: {limit}. Request a service limit increase from "
    "the service limits page in the console. "
)

USUAL: Mapping[str, tuple[int, str, str]] = {
    "OutOfHostCapacity": (500, "InternalError", OUT_OF_CAPACITY),
    "OutOfCapacity": (
        500,
        "InternalError",
        "Out of capacity for shape {type} in availability domain {zone}. Try again later.",
    ),
    "LimitExceeded": (400, "LimitExceeded", LIMIT),
    "QuotaExceeded": (400, "QuotaExceeded", "Adding the requested resource exceeds a quota."),
    "TooManyRequests": (429, "TooManyRequests", "Too many requests for the user"),
    "NotAuthenticated": (401, "NotAuthenticated", NOT_AUTHENTICATED),
    "NotAuthorizedOrNotFound": (404, "NotAuthorizedOrNotFound", NOT_FOUND),
    "NotAuthorized": (403, "NotAuthorized", "You do not have authorization to do this."),
    "NotAllowed": (403, "NotAllowed", "Please go to your home region to execute this operation."),
    "SignUpRequired": (
        403,
        "SignUpRequired",
        "This operation requires opt-in before it may be called.",
    ),
    "InternalError": (500, "InternalError", "An internal server error occurred."),
    "InternalServerError": (500, "InternalServerError", "An internal server error occurred."),
    "ServiceUnavailable": (503, "ServiceUnavailable", "The service is currently unavailable."),
    "GatewayTimeout": (504, "GatewayTimeout", "The gateway timed out."),
    "IncorrectState": (
        409,
        "IncorrectState",
        "The requested state for the resource conflicts with its current state.",
    ),
    "ExternalServerIncorrectState": (
        409,
        "ExternalServerIncorrectState",
        "The state of a downstream resource does not allow this.",
    ),
    "LockConflict": (409, "LockConflict", "The resource is locked by another operation."),
    "Conflict": (409, "Conflict", "The resource conflicts with an existing one."),
    "InvalidatedRetryToken": (
        409,
        "InvalidatedRetryToken",
        "The retry token was used before with another request.",
    ),
    "InvalidParameter": (400, "InvalidParameter", "A parameter of the request is invalid."),
    "MissingParameter": (400, "MissingParameter", "A required parameter is missing."),
    "CannotParseRequest": (400, "CannotParseRequest", "The request could not be parsed."),
    "RelatedResourceNotAuthorizedOrNotFound": (
        400,
        "RelatedResourceNotAuthorizedOrNotFound",
        "Authorization failed or a related resource not found.",
    ),
}
"""The scenario's name of an error -> status, code, message; in braces, facts of the request."""

WORK_REQUEST = "WorkRequestFailed"
"""The scenario's name of a launch that is accepted and then fails in its work request."""


def of(fault: Fault, facts: Mapping[str, str]) -> Refusal:
    """The answer that a scenario asks for; a code that is not known is taken as it is."""
    status, code, message = USUAL.get(
        fault.error, (500, fault.error, "An error of the scenario's own.")
    )
    known = {"limit": facts.get("limit", "a-limit"), "type": "", "zone": "", **facts}
    text = fault.message or message.format_map(known)
    return Refusal(fault.status or status, code, text, asked_for=True)


def not_found(what: str = "") -> Refusal:
    """A resource that is not there, or that the caller may not see."""
    return Refusal(404, "NotAuthorizedOrNotFound", f"{what} not found" if what else NOT_FOUND)


def wrong(message: str, code: str = "InvalidParameter") -> Refusal:
    """A request that cannot be done as it was asked."""
    return Refusal(400, code, message)
