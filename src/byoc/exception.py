"""``byoc.exception``: every name of ``modal.exception``, with Modal's bases.

What byoc raises is in :mod:`byoc.errors`. The classes defined here are raised by nothing in this
version; they exist so that ``except`` clauses and imports of programs written for Modal work.
"""

from __future__ import annotations

from .errors import (
    AccessError,
    AgentError,
    ArgumentError,
    AsyncUsageWarning,
    AuthError,
    BadRequestError,
    BootError,
    BudgetError,
    CancelledError,
    CapacityError,
    ConflictError,
    ConnectionError,
    ConnectionLostError,
    ContainerError,
    DeprecationError,
    DeserializationError,
    Error,
    ExecutionError,
    FunctionTimeoutError,
    HostKeyError,
    ImageBuildError,
    InputCancellation,
    InstanceError,
    InternalError,
    InvalidError,
    MissingNameError,
    NotFoundError,
    NotYetError,
    OutputExpiredError,
    PlacementError,
    ProtocolError,
    ProviderError,
    QuotaError,
    RemoteError,
    RequestSizeError,
    ResourceExhaustedError,
    SerializationError,
    ServerWarning,
    ServiceError,
    SettingsError,
    StateError,
    ThrottleError,
    TimeoutError,
    TransientError,
    UnclassifiedError,
    UsageError,
)

__all__ = [
    "AccessError",
    "AgentError",
    "AlreadyExistsError",
    "ArgumentError",
    "AsyncUsageWarning",
    "AuthError",
    "BadRequestError",
    "BootError",
    "BudgetError",
    "CancelledError",
    "CapacityError",
    "ClientClosed",
    "ConflictError",
    "ConnectionError",
    "ConnectionLostError",
    "ContainerError",
    "DataLossError",
    "DeprecationError",
    "DeserializationError",
    "Error",
    "ExecTimeoutError",
    "ExecutionError",
    "FunctionTimeoutError",
    "HostKeyError",
    "ImageBuildError",
    "InputCancellation",
    "InstanceError",
    "InteractiveTimeoutError",
    "InternalAPIWarning",
    "InternalError",
    "InternalFailure",
    "InvalidError",
    "LogsFetchError",
    "MissingNameError",
    "ModuleNotMountable",
    "MountUploadTimeoutError",
    "NotFoundError",
    "NotYetError",
    "OutputExpiredError",
    "PermissionDeniedError",
    "PlacementError",
    "ProtocolError",
    "ProviderError",
    "QuotaError",
    "RemoteError",
    "RequestSizeError",
    "ResourceExhaustedError",
    "SandboxFilesystemDirectoryNotEmptyError",
    "SandboxFilesystemError",
    "SandboxFilesystemFileTooLargeError",
    "SandboxFilesystemIsADirectoryError",
    "SandboxFilesystemNotADirectoryError",
    "SandboxFilesystemNotFoundError",
    "SandboxFilesystemPathAlreadyExistsError",
    "SandboxFilesystemPermissionError",
    "SandboxTerminatedError",
    "SandboxTimeoutError",
    "SerializationError",
    "ServerWarning",
    "ServiceError",
    "SettingsError",
    "SnapshotCreationError",
    "StateError",
    "ThrottleError",
    "TimeoutError",
    "TransientError",
    "UnclassifiedError",
    "UnimplementedError",
    "UsageError",
    "UserCodeException",
    "VersionError",
    "VolumeUploadTimeoutError",
    "WorkspaceManagementError",
    "simulate_preemption",
]


class UserCodeException(Exception):
    """Modal wrapped the exceptions of ``map(return_exceptions=True)`` in it before 1.4; byoc gives
    them as they are."""


class AlreadyExistsError(Error):
    """Something of that name exists: use it, or choose another name."""


class DataLossError(Error):
    """Data cannot be recovered."""


class PermissionDeniedError(Error):
    """The account may not do that: ask for the permission."""


class InternalFailure(Error):
    """The platform failed: try again."""


class UnimplementedError(Error):
    """The other side does not know the request: update it."""


class VersionError(Error):
    """Client and server do not fit together: update the client."""


class ClientClosed(Error):
    """The client was closed: make calls before its end."""


class LogsFetchError(Error):
    """Logs could not be fetched: try again."""


class WorkspaceManagementError(Error):
    """A workspace could not be managed."""


class ModuleNotMountable(Exception):
    """A local module cannot be sent."""


class InteractiveTimeoutError(TimeoutError):
    """The terminal did not connect in time."""


class MountUploadTimeoutError(TimeoutError):
    """Local files could not be sent in time."""


class VolumeUploadTimeoutError(TimeoutError):
    """Files could not be sent to a volume in time."""


class ExecTimeoutError(TimeoutError):
    """A command in a sandbox ran past its timeout."""


class SandboxTimeoutError(TimeoutError):
    """A sandbox ran past its timeout."""


class SandboxTerminatedError(Error):
    """A sandbox was ended."""


class SnapshotCreationError(Error):
    """A snapshot could not be made."""


class SandboxFilesystemError(Error):
    """A file of a sandbox could not be used."""


class SandboxFilesystemNotFoundError(SandboxFilesystemError):
    """It does not exist."""


class SandboxFilesystemPermissionError(SandboxFilesystemError):
    """It may not be used."""


class SandboxFilesystemIsADirectoryError(SandboxFilesystemError):
    """It is a folder."""


class SandboxFilesystemNotADirectoryError(SandboxFilesystemError):
    """It is no folder."""


class SandboxFilesystemPathAlreadyExistsError(SandboxFilesystemError):
    """It exists already."""


class SandboxFilesystemDirectoryNotEmptyError(SandboxFilesystemError):
    """It is a folder that holds something."""


class SandboxFilesystemFileTooLargeError(SandboxFilesystemError):
    """It is too large."""


class InternalAPIWarning(UserWarning):
    """Something that is no public interface was used."""


def simulate_preemption(wait_seconds: int, jitter_seconds: int = 0) -> None:
    """Refused: end an instance by ``byoc down`` to see what a program makes of it."""
    raise NotYetError(
        "simulate_preemption() is not available in this version of byoc",
        hints=("end an instance while the program runs: byoc down ID",),
    )
