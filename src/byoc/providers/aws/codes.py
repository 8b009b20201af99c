"""What EC2's refusals mean, as data. Read by :mod:`byoc.providers.table`, first fit first.

Sources: AWS's list of EC2 error codes; what EC2's users report (the texts); the botocore package
for the names of the exceptions that it raises without an answer of AWS.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from ..table import Row

SHORT = 180.0
"""A zone without capacity for a type often has it again in minutes; Karpenter keeps 3 as well."""
SPOT_TAKEN = 900.0
"""After a spot instance was taken away the same pool is short for longer."""
SUBNET = 600.0
"""Addresses of a subnet come back as instances in it end."""
QUOTA = 900.0
"""A raised quota is looked at again after this; raising one takes AWS minutes to days."""
ACCESS = 300.0
"""People mend credentials and policies while they try: not kept for long."""
ACCOUNT = 3600.0
"""What AWS has to verify or unblock takes it hours."""
NOT_SOLD = 86400.0
"""Which zone sells a type changes by the month."""

_POLICY = "Allow the action that the message names; `byoc iam aws` prints the whole policy."
_RENEW = "Renew the credentials: `aws sso login`, `aws configure`, or new AWS_* variables."
_CLOCK = "Set this computer's clock: AWS refuses requests that are more than 5 minutes off."
_RAISE = "Ask for more in the Service Quotas console, or use another region or market."
SPOT_ROLE = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
"""What an account needs once before its first spot instance."""
_SPOT_ROLE = f"Run `{SPOT_ROLE}` once with an administrator's credentials."
_IMAGE = "Check the setting aws.image, or unset it for the usual image."
_SUPPORT = "Ask AWS support what holds the account."
_OPT_IN = "Enable the region or subscribe to the service in the AWS console."
_NETWORK = "Check the settings aws.subnet and aws.security_group, or unset them."
_BUG = "Report this, with the request id: byoc asked for something that EC2 does not take."

ROWS: tuple[Row, ...] = (
    # --- capacity -------------------------------------------------------------------------
    Row("InsufficientInstanceCapacity", CapacityError, "offer", SHORT),
    Row("InsufficientHostCapacity", CapacityError, "type@zone", SHORT),
    Row("InsufficientReservedInstanceCapacity", CapacityError, "offer", SHORT),
    Row("ReservationCapacityExceeded", CapacityError, "offer", SHORT),
    Row("InsufficientCapacity", CapacityError, "type@zone", SHORT),
    Row("InsufficientCapacityOnOutpost", CapacityError, "zone", SHORT),
    Row("UnfulfillableCapacity", CapacityError, "offer", SHORT),
    Row("SpotMaxPriceTooLow", CapacityError, "offer", SHORT),
    Row("InsufficientFreeAddressesInSubnet", CapacityError, "zone", SUBNET),
    Row("InsufficientAddressCapacity", CapacityError, "region", SUBNET),
    Row("InsufficientVolumeCapacity", CapacityError, "zone", SUBNET),
    # --- not sold there -------------------------------------------------------------------
    Row("Unsupported", NotOfferedError, "offer", NOT_SOLD, text=r"\bspot\b"),
    Row("Unsupported", NotOfferedError, "type@zone", NOT_SOLD),
    Row("UnsupportedInstanceType*", NotOfferedError, "type@zone", NOT_SOLD),
    Row("InvalidInstanceType*", NotOfferedError, "type@zone", NOT_SOLD),
    Row(
        "InvalidParameterValue", NotOfferedError, "type@zone", NOT_SOLD,
        text=r"for InstanceType|instance types? do(es)? not exist",
    ),
    # --- asked too often: before the quotas, whose pattern would take these ------------------
    Row("RequestLimitExceeded", ThrottleError),
    Row("BandwidthLimitExceeded", ThrottleError),
    Row("Throttling*", ThrottleError),
    Row("RequestThrottled*", ThrottleError),
    Row("EC2ThrottledException", ThrottleError),
    Row("TooManyRequestsException", ThrottleError),
    Row("SlowDown", ThrottleError),
    # --- quotas ---------------------------------------------------------------------------
    Row("VcpuLimitExceeded", QuotaError, "bucket", QUOTA, _RAISE),
    Row("MaxSpotInstanceCountExceeded", QuotaError, "bucket", QUOTA, _RAISE),
    Row("InstanceLimitExceeded", QuotaError, "region", QUOTA, _RAISE),
    Row("Max*CountExceeded", QuotaError, "region", QUOTA, _RAISE),
    Row("TargetCapacityLimitExceededException", QuotaError, "region", QUOTA, _RAISE),
    Row("MaxIOPSLimitExceeded", QuotaError, "region", QUOTA, _RAISE),
    Row(
        "RulesPerSecurityGroupLimitExceeded", QuotaError, "region", QUOTA,
        "Name fewer networks in ingress, or a security group of your own in aws.security_group.",
    ),
    Row("*LimitExceeded", QuotaError, "region", QUOTA, _RAISE),
    Row("*LimitExceededException", QuotaError, "region", QUOTA, _RAISE),
    # --- permissions ----------------------------------------------------------------------
    Row(
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted", AccessError, "spot", ACCESS,
        _SPOT_ROLE,
    ),
    Row(
        "UnauthorizedOperation", AccessError, "region", ACCOUNT,
        "An organisation's policy forbids it here: use another region, or ask its owner.",
        text=r"explicit deny in a service control policy",
    ),
    Row("UnauthorizedOperation", AccessError, "spot", ACCESS, _SPOT_ROLE,
        text=r"iam:CreateServiceLinkedRole"),
    Row("UnauthorizedOperation", AccessError, "cloud", ACCESS, _POLICY),
    Row("AccessDenied", AccessError, "cloud", ACCESS, _POLICY),
    Row("AccessDeniedException", AccessError, "cloud", ACCESS, _POLICY),
    Row("OperationNotPermitted", AccessError, "request", 0.0,
        "Turn off the termination protection of the instance first."),
    # --- credentials ----------------------------------------------------------------------
    Row("AuthFailure", AccessError, "cloud", ACCESS, _RENEW),
    Row("ExpiredToken", AccessError, "cloud", ACCESS, _RENEW),
    Row("ExpiredTokenException", AccessError, "cloud", ACCESS, _RENEW),
    Row("InvalidClientTokenId", AccessError, "cloud", ACCESS, _RENEW),
    Row("InvalidClientToken", AccessError, "cloud", ACCESS, _RENEW),
    Row("InvalidAccessKeyId", AccessError, "cloud", ACCESS, _RENEW),
    Row("UnrecognizedClientException", AccessError, "cloud", ACCESS, _RENEW),
    Row("MissingAuthenticationToken*", AccessError, "cloud", ACCESS, _RENEW),
    Row("RequestExpired", AccessError, "cloud", ACCESS, _CLOCK),
    Row("SignatureDoesNotMatch", AccessError, "cloud", ACCESS, _CLOCK, text=r"expired|current"),
    Row("SignatureDoesNotMatch", AccessError, "cloud", ACCESS, _RENEW),
    Row("IncompleteSignature", AccessError, "cloud", ACCESS, _RENEW),
    # --- the account ------------------------------------------------------------------------
    Row("OptInRequired", AccessError, "region", ACCOUNT, _OPT_IN),
    Row("PendingVerification", AccessError, "region", ACCOUNT,
        "AWS verifies the account for this region, at most 4 hours: use another one meanwhile."),
    Row("Blocked", AccessError, "cloud", ACCOUNT, _SUPPORT),
    Row("*", AccessError, "region", ACCOUNT, "Upgrade the account from AWS's free plan.",
        text=r"not eligible for free tier"),
    # --- launch tokens ----------------------------------------------------------------------
    Row("IdempotentParameterMismatch", TokenError),
    Row("IdempotentInstanceTerminated", TokenError),
    # --- what may be right when asked again -------------------------------------------------
    Row("InternalError", TransientError),
    Row("InternalFailure", TransientError),
    Row("InternalServerError", TransientError),
    Row("ServerInternal", TransientError),
    Row("ServiceUnavailable", TransientError),
    Row("ServiceUnavailableException", TransientError),
    Row("Unavailable", TransientError),
    Row("RequestTimeout*", TransientError),
    Row("InvalidInstanceID.NotFound", TransientError),
    Row("IncorrectInstanceState", TransientError),
    Row("IncorrectState", TransientError),
    Row("InvalidParameterValue", TransientError, text=r"IAM Instance Profile"),
    Row("DependencyViolation", TransientError, hint="End the instances that still use it first."),
    Row("VolumeInUse", TransientError, hint="End the instance that still uses it first."),
    Row("InvalidNetworkInterface.InUse", TransientError,
        hint="End the instance that still uses it first."),
    # Another client has made it meanwhile: found when looked up again.
    Row("InvalidGroup.Duplicate", TransientError),
    Row("InvalidKeyPair.Duplicate", TransientError),
    Row("InvalidPermission.Duplicate", TransientError),
    Row("EntityAlreadyExists", TransientError),
    # --- a wrong request --------------------------------------------------------------------
    Row("InvalidAMIID.*", BadRequestError, "region", 0.0, _IMAGE),
    Row("InvalidAMIName.*", BadRequestError, "region", 0.0, _IMAGE),
    Row("InvalidBlockDeviceMapping", BadRequestError, "request", 0.0,
        "Ask for a larger disk, or for none: the image has a size of its own."),
    Row("InvalidSubnetID.*", BadRequestError, "region", 0.0, _NETWORK),
    Row("InvalidSubnet*", BadRequestError, "region", 0.0, _NETWORK),
    Row("InvalidGroup.*", BadRequestError, "region", 0.0, _NETWORK),
    Row("InvalidGroupId.*", BadRequestError, "region", 0.0, _NETWORK),
    Row("InvalidSecurityGroupID.*", BadRequestError, "region", 0.0, _NETWORK),
    Row("VPCIdNotSpecified", BadRequestError, "region", 0.0,
        "Run `aws ec2 create-default-vpc`, or name a subnet in aws.subnet."),
    Row("MissingInput", BadRequestError, "region", 0.0,
        "Run `aws ec2 create-default-vpc`, or name a subnet in aws.subnet."),
    Row("InvalidKeyPair.*", BadRequestError, "region", 0.0, _BUG),
    Row("InvalidLaunchTemplate*", BadRequestError, "region", 0.0, _BUG),
    Row("InvalidCapacityReservationId.*", BadRequestError, "region", 0.0, _BUG),
    Row("InvalidParameter*", BadRequestError, "request", 0.0, _BUG),
    Row("InvalidUserData.*", BadRequestError, "request", 0.0, _BUG),
    Row("Missing*", BadRequestError, "request", 0.0, _BUG),
    Row("Unknown*", BadRequestError, "request", 0.0, _BUG),
    Row("UnsupportedOperation", BadRequestError, "request", 0.0, _BUG),
    Row("InvalidAction", BadRequestError, "request", 0.0, _BUG),
    Row("Malformed*", BadRequestError, "request", 0.0, _BUG),
    Row("ValidationError*", BadRequestError, "request", 0.0, _BUG),
    Row("ValidationException", BadRequestError, "request", 0.0, _BUG),
    # --- answers that are expected where they are asked for, and classed here all the same ----
    Row("DryRunOperation", BadRequestError),
    Row("ParameterNotFound", BadRequestError, "region"),
    Row("NoSuch*", BadRequestError),
    Row("Invalid*.NotFound", BadRequestError),
    Row("Invalid*.Malformed", BadRequestError),
)  # fmt: skip
"""Codes of EC2, STS, SSM, IAM and Service Quotas."""

STATE_ROWS: tuple[Row, ...] = (
    Row("Server.InsufficientInstanceCapacity", CapacityError, "offer", SHORT),
    Row("Server.SpotInstanceTermination", CapacityError, "offer", SPOT_TAKEN),
    Row("Server.SpotInstanceShutdown", CapacityError, "offer", SPOT_TAKEN),
    Row("Server.ScheduledStop", TransientError, "offer", SHORT),
    Row("Server.InternalError", TransientError, "offer", SHORT),
    Row("Client.VolumeLimitExceeded", QuotaError, "region", QUOTA, _RAISE),
    Row(
        "Client.InternalError", AccessError, "region", ACCESS,
        "Check that these credentials may use the key that encrypts disks by default (KMS).",
    ),
    Row("Client.InvalidSnapshot.NotFound", BadRequestError, "region", 0.0, _IMAGE),
)  # fmt: skip
"""``StateReason.Code`` of an instance that ended although nobody here asked for it."""

ASKED = frozenset({"Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown"})
"""``StateReason.Code`` of an end that was asked for, by us or by the machine itself."""

_LOGIN = "Run `aws sso login --profile {profile}`."
_OFFLINE = "Check the network, and the setting aws.endpoint or AWS_ENDPOINT_URL if there is one."
EXCEPTIONS: Mapping[str, tuple[type[ProviderError], str, str]] = {
    "NoCredentialsError": (
        AccessError, "cloud",
        "Run `aws configure` or `aws sso login`, or set AWS_PROFILE or the setting aws.profile.",
    ),
    "PartialCredentialsError": (AccessError, "cloud", _RENEW),
    "CredentialRetrievalError": (AccessError, "cloud", _RENEW),
    "ProfileNotFound": (
        AccessError, "cloud",
        "`aws configure list-profiles` shows them; aws.profile or AWS_PROFILE names one.",
    ),
    "UnauthorizedSSOTokenError": (AccessError, "cloud", _LOGIN),
    "SSOTokenLoadError": (AccessError, "cloud", _LOGIN),
    "PendingAuthorizationExpiredError": (AccessError, "cloud", _LOGIN),
    "SSOError": (AccessError, "cloud", _LOGIN),
    "TokenRetrievalError": (AccessError, "cloud", _LOGIN),
    "RefreshWithMFAUnsupportedError": (AccessError, "cloud", _RENEW),
    "InvalidConfigError": (AccessError, "cloud", "Check ~/.aws/config."),
    "ConfigParseError": (AccessError, "cloud", "Check ~/.aws/config."),
    "ConfigNotFound": (AccessError, "cloud", "Check AWS_CONFIG_FILE."),
    "MetadataRetrievalError": (AccessError, "cloud", _RENEW),
    "MissingDependencyException": (AccessError, "cloud", "pip install 'botocore[crt]'"),
    "ParamValidationError": (BadRequestError, "request", _BUG),
    "UnknownEndpointError": (NotOfferedError, "region", "Use a region that AWS has."),
    "InvalidRegionError": (NotOfferedError, "region", "Use a region that AWS has."),
    "ResponseParserError": (TransientError, "request", ""),
    "HTTPClientError": (TransientError, "request", _OFFLINE),
    "ConnectionError": (TransientError, "request", _OFFLINE),
    "IncompleteReadError": (TransientError, "request", ""),
    "ResponseStreamingError": (TransientError, "request", ""),
    "BotoCoreError": (TransientError, "request", ""),
}  # fmt: skip
"""What boto raises without an answer of AWS, by class name, a base class for those that are not
here: (class, scope, hint). ``{profile}`` in a hint stands for the profile in use."""
