"""What OCI's refusals mean, as data. Read by :mod:`byoc.providers.table`, first fit first.

The code alone says little: out of capacity is a 500 ``InternalError`` whose message has the reason,
and a failed work request brings the same words without a status. Sources: OCI's list of API errors;
the Python SDK for the names of what it raises by itself; the messages that users report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TokenError,
    TransientError,
)
from ..table import Answer, Row, classify

CLOUD = "oci"
SHORT = 180.0
"""A domain without capacity for a shape often has it again in minutes."""
RECLAIMED = 900.0
"""After a preemptible instance was reclaimed the domain is short of that shape for longer."""
QUOTA = 900.0
"""A raised limit is looked at again after this; raising one takes Oracle minutes to days."""
ACCESS = 300.0
"""People mend keys and policies while they try, and policies take minutes to arrive everywhere."""
ACCOUNT = 3600.0
"""What the tenancy has to sign up for takes its administrator hours."""
NOT_SOLD = 86400.0
"""Which availability domain has which shape changes by the month."""

ABSENT = "NotAuthorizedOrNotFound"
"""OCI's one answer for what is not there and for what may not be seen."""
PREEMPTED = "Preempted"
ENDED_EARLY = "TerminatedWhileProvisioning"
"""Our own names, for what the API tells only by the state of an instance."""

RENEW = (
    "Renew the session with `oci session authenticate`, or check user, fingerprint and key file "
    "with `oci setup config`."
)
_CLOCK = "Set this computer's clock: OCI refuses requests that are more than 5 minutes off."
_SETUP = (
    "Run `oci setup config`, or name another file or profile with BYOC_OCI_CONFIG_FILE and "
    "BYOC_OCI_PROFILE."
)
_POLICY = "Allow it by a policy (`byoc iam oci` prints them), or check the setting oci.compartment."
_RAISE = "Ask for more under Limits, Quotas and Usage in the OCI console, or use another region."
_COMPARTMENT_QUOTA = "Ask whoever sets the compartment's quotas, or use another compartment."
_HOME = "Do this in the tenancy's home region."
_SIGN_UP = "Finish signing up for the service in the OCI console."
_ON_DEMAND = "Use market='on-demand' for this shape."
_IMAGE = "Check the setting oci.image, or unset it for the usual image."
_NETWORK = "Check the settings oci.subnet and oci.image, or unset them."
_LEAVE = "Wait a minute or more: OCI keeps refusing whoever goes on asking."
_BUG = "Report this, with the request id: byoc asked for something that OCI does not take."

_UNFIT = r"(not (valid|compatible|supported)|incompatible)"
_CAPACITY = r"out of (host )?capacity|host capacity|no capacity|insufficient capacity"

ROWS: tuple[Row, ...] = (
    # --- capacity: by its words, whatever the code and the status ----------------------------
    Row("*", CapacityError, "offer", SHORT, text=_CAPACITY),
    Row("*OutOfHostCapacity*", CapacityError, "offer", SHORT),
    Row("*OutOfCapacity*", CapacityError, "offer", SHORT),
    Row(ENDED_EARLY, CapacityError, "offer", SHORT),
    Row(PREEMPTED, CapacityError, "offer", RECLAIMED),
    # --- not sold there -------------------------------------------------------------------
    Row(
        "InvalidParameter", NotOfferedError, "offer", NOT_SOLD, _ON_DEMAND,
        text=r"not support preemptible|preemptible.*not (supported|available|allowed)",
    ),
    Row(
        "InvalidParameter", BadRequestError, hint=_IMAGE,
        text=rf"{_UNFIT}.*\bimage\b|\bimage\b.*{_UNFIT}",
    ),
    Row(
        "InvalidParameter", NotOfferedError, "type@zone", NOT_SOLD,
        text=r"\bshape\b.*\b(not (supported|available|offered|found|exist|valid)|unavailable)",
    ),
    Row(ABSENT, NotOfferedError, "type@zone", NOT_SOLD, text=r"^\s*shape\b"),
    # --- limits and quotas ------------------------------------------------------------------
    Row("LimitExceeded", QuotaError, "bucket", QUOTA, _RAISE),
    Row("QuotaExceeded", QuotaError, "bucket", QUOTA, _COMPARTMENT_QUOTA),
    Row("*", QuotaError, "bucket", QUOTA, _RAISE, text=r"service limits? (was|were) exceeded"),
    # --- asked too often --------------------------------------------------------------------
    Row("TooManyRequests", ThrottleError, hint=_LEAVE),
    Row("*", ThrottleError, hint=_LEAVE, status=429),
    # --- who may what -----------------------------------------------------------------------
    Row("NotAuthenticated", AccessError, "cloud", ACCESS, _CLOCK, text=r"clock skew|\bdate\b"),
    Row("NotAuthenticated", AccessError, "cloud", ACCESS, RENEW),
    Row("SignUpRequired", AccessError, "cloud", ACCOUNT, _SIGN_UP),
    Row("NotAllowed", AccessError, "cloud", ACCESS, _HOME, text=r"home region"),
    Row("NotAllowed", AccessError, "cloud", ACCESS, _POLICY),
    Row("NotAuthorized", AccessError, "cloud", ACCESS, _POLICY),
    Row(ABSENT, AccessError, "cloud", ACCESS, _POLICY),
    Row("*", AccessError, "cloud", ACCESS, RENEW, status=401),
    Row("*", AccessError, "cloud", ACCESS, _POLICY, status=403),
    Row("NotSubscribed", AccessError, "region", ACCESS),
    # --- what the SDK raises by itself: no configuration, no key --------------------------------
    Row("ConfigFileNotFound", AccessError, "cloud", ACCESS, _SETUP),
    Row("ProfileNotFound", AccessError, "cloud", ACCESS, _SETUP),
    Row("InvalidConfig", AccessError, "cloud", ACCESS, _SETUP),
    Row("InvalidKeyFilePath", AccessError, "cloud", ACCESS, _SETUP),
    Row(
        "MissingPrivateKeyPassphrase", AccessError, "cloud", ACCESS,
        "Put pass_phrase into OCI's configuration, or use a key without one.",
    ),
    Row("InvalidPrivateKey", AccessError, "cloud", ACCESS, _SETUP),
    Row("InvalidResourcePrincipalArguments", AccessError, "cloud", ACCESS, RENEW),
    # --- the token ----------------------------------------------------------------------------
    Row("InvalidatedRetryToken", TokenError),
    Row("Conflict", TokenError),
    Row("NoEtagMatch", TransientError),  # somebody has changed it since it was read
    # --- again, with the same token: nobody knows whether it was done ---------------------------
    Row("IncorrectState", TransientError),
    Row("ExternalServerIncorrectState", TransientError),
    Row("LockConflict", TransientError),
    Row("InternalError", TransientError),
    Row("InternalServerError", TransientError),
    Row("ServiceUnavailable", TransientError),
    Row("GatewayTimeout", TransientError),
    Row("BadGateway", TransientError),
    Row("Timeout", TransientError),
    Row("ConnectionFailed", TransientError),
    # --- wrong as it was asked ------------------------------------------------------------------
    Row("RelatedResourceNotAuthorizedOrNotFound", BadRequestError, hint=_NETWORK),
    Row("InvalidParameter", BadRequestError, hint=_BUG),
    Row("MissingParameter", BadRequestError, hint=_BUG),
    Row("CannotParseRequest", BadRequestError, hint=_BUG),
)  # fmt: skip
"""The error table."""

_LIMIT = re.compile(r"limits? (?:was|were) exceeded: *([a-z0-9][a-z0-9-]*)")
_CLIENT_SIDE = (
    "ConfigFileNotFound",
    "ProfileNotFound",
    "InvalidConfig",
    "InvalidKeyFilePath",
    "MissingPrivateKeyPassphrase",
    "InvalidPrivateKey",
    "InvalidResourcePrincipalArguments",
)


def of(answer: Answer) -> ProviderError:
    """The error of an answer. A refused limit that is not named is kept to this type and domain:
    which other offers draw on it is not known."""
    found = _LIMIT.search(answer.message)
    if found and not answer.bucket:
        answer = answer._replace(bucket=found[1])
    error = classify(CLOUD, ROWS, answer)
    if error.scope == "bucket" and not error.bucket:
        error.scope = "type@zone"
    return error


def translate(raised: BaseException) -> ProviderError | None:
    """The error of what the SDK raised; None when the SDK did not raise it.

    Its classes are known by name, so that nothing of it has to be imported here.
    """
    names = [kind.__name__ for kind in type(raised).__mro__]
    if "ServiceError" in names and hasattr(raised, "status"):
        return of(_service_answer(raised))
    if _from_sdk(raised):
        for name in _CLIENT_SIDE:
            if name in names:
                return of(Answer(name, _words(raised)))
    if "Timeout" in names:
        return of(Answer("Timeout", f"OCI did not answer in time: {_words(raised)}"))
    if "RequestException" in names or isinstance(raised, ConnectionError):
        return of(Answer("ConnectionFailed", f"OCI cannot be reached: {_words(raised)}"))
    return None


@contextmanager
def translated() -> Iterator[None]:
    """What the SDK raises inside is raised as one of byoc's errors."""
    try:
        yield
    except Exception as raised:
        error = translate(raised)
        if error is not None:
            raise error from raised
        raise


def _service_answer(raised: Any) -> Answer:
    return Answer(
        str(raised.code or ""),
        str(raised.message or ""),
        int(raised.status or 0),
        str(raised.request_id or ""),
    )


def _from_sdk(raised: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] == "oci" for kind in type(raised).__mro__)


def _words(raised: BaseException) -> str:
    text = " ".join(str(raised).split())
    return text[:500] or type(raised).__name__
