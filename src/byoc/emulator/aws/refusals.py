"""How AWS says no: codes with their status and words, and the three forms in which they travel."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

Words = Mapping[str, str]

_TABLE: Mapping[str, tuple[int, str]] = {
    # Wording as in real answers; {name} is filled in from the request.
    "InsufficientInstanceCapacity": (
        500,
        (
            "We currently do not have sufficient {type} capacity in the Availability Zone you "
            "requested ({zone}). Our system will be working on provisioning additional "
            "capacity. You can currently get {type} capacity by not specifying an "
            "Availability Zone in your request or choosing {others}."
        ),
    ),
    "InsufficientHostCapacity": (500, "There is not enough capacity on the Dedicated Hosts."),
    "UnfulfillableCapacity": (500, "Unable to fulfill capacity due to your request configuration."),
    "Unsupported": (
        400,
        (
            "Your requested instance type ({type}) is not supported in your requested "
            "Availability Zone ({zone}). Please retry your request by not specifying an "
            "Availability Zone or choosing {others}."
        ),
    ),
    "VcpuLimitExceeded": (
        400,
        (
            "You have requested more vCPU capacity than your current vCPU limit of {limit} "
            "allows for the instance bucket that the specified instance type belongs to. "
            "Please visit http://aws.amazon.com/contact-us/ec2-request to request an "
            "adjustment to this limit."
        ),
    ),
    "MaxSpotInstanceCountExceeded": (400, "Max spot instance count exceeded"),
    "InstanceLimitExceeded": (
        400,
        (
            "You have requested more instances ({limit}) than your current instance limit "
            "allows for the specified instance type."
        ),
    ),
    "SpotMaxPriceTooLow": (
        400,
        (
            "Your Spot request price of 0.01 is lower than the minimum required Spot request "
            "fulfillment price of 0.5."
        ),
    ),
    "InsufficientFreeAddressesInSubnet": (
        400,
        (
            "There are not enough free addresses in subnet 'subnet-0' to satisfy the "
            "requested number of instances."
        ),
    ),
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "Throttling": (400, "Rate exceeded"),
    "ThrottlingException": (400, "Rate exceeded"),
    "TooManyRequestsException": (429, "Too many requests"),
    "UnauthorizedOperation": (
        403,
        (
            "You are not authorized to perform this operation. User: {user} is not authorized "
            "to perform: ec2:{op} on resource: {resource} because no identity-based policy "
            "allows the ec2:{op} action. Encoded authorization failure message: {encoded}"
        ),
    ),
    "AccessDenied": (403, "User: {user} is not authorized to perform: {service}:{op}"),
    "AccessDeniedException": (
        400,
        (
            "User: {user} is not authorized to perform: {service}:{op} on resource: * because "
            "no identity-based policy allows the {service}:{op} action"
        ),
    ),
    "AuthFailure": (401, "AWS was not able to validate the provided access credentials"),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        403,
        (
            "The provided credentials do not have permission to create the service-linked "
            "role for EC2 Spot Instances."
        ),
    ),
    "ExpiredToken": (403, "The security token included in the request is expired"),
    "ExpiredTokenException": (400, "The security token included in the request is expired"),
    "InvalidClientTokenId": (403, "The security token included in the request is invalid."),
    "UnrecognizedClientException": (400, "The security token included in the request is invalid."),
    "SignatureDoesNotMatch": (
        403,
        (
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        ),
    ),
    "MissingAuthenticationToken": (403, "Request is missing Authentication Token"),
    "RequestExpired": (400, "Request has expired."),
    "OptInRequired": (
        401,
        "You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe.",
    ),
    "PendingVerification": (
        400,
        (
            "Your request for accessing resources in this region is being validated, and you "
            "will not be able to launch additional resources in this region until the "
            "validation is complete."
        ),
    ),
    "Blocked": (400, "This account is currently blocked and not recognized as a valid account."),
    "IdempotentParameterMismatch": (
        400,
        (
            "Arguments on this idempotent request are inconsistent with arguments used in "
            "previous request(s)."
        ),
    ),
    "IdempotentInstanceTerminated": (
        400,
        (
            "The client token you have provided is associated with a terminated instance. "
            "Please use a different client token."
        ),
    ),
    "InternalError": (500, "An internal error has occurred"),
    "InternalFailure": (500, "An internal failure has occurred"),
    "Unavailable": (503, "The server is overloaded and can't handle the request."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "InvalidAMIID.NotFound": (400, "The image id '[ami-0]' does not exist"),
    "InvalidInstanceID.NotFound": (400, "The instance ID '{id}' does not exist"),
    "InvalidSubnetID.NotFound": (400, "The subnet ID '{id}' does not exist"),
    "InvalidGroup.NotFound": (400, "The security group '{id}' does not exist"),
    "VPCIdNotSpecified": (400, "No default VPC for this user"),
    "DependencyViolation": (400, "resource {id} has a dependent object"),
    "DryRunOperation": (412, "Request would have succeeded, but DryRun flag is set."),
    "NoSuchEntity": (404, "The role with name {name} cannot be found."),
    "NoSuchResourceException": (
        400,
        ("The request failed because the specified service quota does not exist."),
    ),
    "ParameterNotFound": (400, "{name}"),
}
_ALIASES: Mapping[str, tuple[str, str]] = {
    # What a scenario may write for a refusal that has no code of its own.
    "InsufficientSpotCapacity": (
        "InsufficientInstanceCapacity",
        "There is no Spot capacity available that matches your request.",
    ),
}
_DENIED = {"ec2": "UnauthorizedOperation", "iam": "AccessDenied", "sts": "AccessDenied"}
DENY = "deny"
"""In a scenario, for any service: the account may not do this."""


class Refusal(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, code: str, message: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    type: str
    request_id: str


def refusal(service: str, code: str, words: Words, message: str = "", status: int = 0) -> Refusal:
    """A refusal in AWS's words, where ``message`` and ``status`` do not say otherwise."""
    if code == DENY:
        code = _DENIED.get(service, "AccessDeniedException")
    code, told = _ALIASES.get(code, (code, ""))
    usual, text = _TABLE.get(code, (400, code))
    filled = {"service": service, **words}
    return Refusal(code, message or told or fill(text, filled), status or usual)


def fill(text: str, words: Words) -> str:
    """``text`` with its ``{name}``s replaced; what is not known becomes ``?``."""

    class Known(dict[str, str]):
        def __missing__(self, key: str) -> str:
            return "?"

    return text.format_map(Known(words))


def encoded(action: str, resource: str) -> str:
    """What EC2 hides in its refusals, for ``sts:DecodeAuthorizationMessage``."""
    context = {"action": action, "resource": resource}
    told = {"allowed": False, "explicitDeny": False, "context": context}
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


def answer(protocol: str, refused: Refusal) -> Reply:
    """The HTTP answer of a refusal, as a service of this protocol gives it."""
    request_id = str(uuid.uuid4())
    code, message = escape(refused.code), escape(refused.message)
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    if protocol == "ec2":
        body = (
            f"<Response><Errors><Error>{error}</Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
    elif protocol == "query":
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    else:
        told = {"__type": refused.code, "message": refused.message}
        data = json.dumps(told).encode()
        return Reply(refused.status, data, "application/x-amz-json-1.1", request_id)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return Reply(refused.status, (head + body).encode(), "text/xml;charset=UTF-8", request_id)
