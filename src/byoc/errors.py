"""Every failure a user can meet, as data.

The tree, by what the caller can do about it::

    Error
    |- UsageError                     change the code or the command
    |   |- InvalidError               a wrong argument, found before anything is rented
    |   |   |- ArgumentError          the same where Python itself says TypeError; a TypeError too
    |   |   |- ConflictError          two arguments, or two names of one, contradict each other
    |   |   `- NotYetError            a documented parameter that this version refuses by name
    |   |       `- MissingNameError   the same for a name of ``import byoc``; an AttributeError too
    |   |- SettingsError              a wrong setting; names the file and key
    |   `- NotFoundError              a named thing does not exist
    |- PlacementError                 nothing that is allowed can hold the request
    |- ProviderError                  a cloud refused; keeps its code, message and request id
    |   |- CapacityError              try another zone, region, type or cloud
    |   |- NotOfferedError            this type is not sold there at all
    |   |- QuotaError                 the account may not hold more
    |   |- BadRequestError            our request is wrong: stop
    |   |- AccessError                credentials or permissions: stop this cloud
    |   |- ThrottleError              ask again, slower
    |   |- TransientError             ask again
    |   |- TokenError                 the launch token stands for something else: a new attempt
    |   `- UnclassifiedError          a code we do not know: logged, next offer
    |- InstanceError                  an instance misbehaved
    |   |- BootError                  it did not become reachable
    |   |- BadHostError               its hardware is not what was paid for, or is broken
    |   |- HostKeyError               it is not the machine we booted: nothing was sent
    |   |- ConnectionLostError        it stopped answering and did not come back
    |   |- AgentError                 the runtime agent could not start or speaks another protocol
    |   `- ProtocolError              bytes that are not ours
    |- StateError                     the journal cannot be used
    |- BudgetError                    the run would cost, or has cost, more than allowed
    `- ExecutionError                 the call cannot be made or its outcome cannot be given
        |- RemoteError                the remote side failed without an exception object
        |   |- ContainerError         the container died: exit, signal, out of memory
        |   |- CancelledError         the call was cancelled
        |   `- ImageBuildError        a layer failed; keeps the build log's end
        |- SerializationError         a value cannot be pickled
        |   `- RequestSizeError       it is larger than what can be sent
        |- DeserializationError       a value arrived but cannot be unpickled here
        `- TimeoutError               (not the builtin one)
            |- FunctionTimeoutError   the function ran past its ``timeout``
            `- OutputExpiredError     the result is no longer kept

Five names of Modal's group some of these, so that ``except`` clauses written for it work:
AuthError (AccessError), ConnectionError (ConnectionLostError), ResourceExhaustedError
(CapacityError, QuotaError, ThrottleError), ServiceError (TransientError) and InternalError
(AgentError, ProtocolError, StateError). :mod:`byoc.exception` has the rest of Modal's names.

Not in the tree: InputCancellation, a BaseException that a cancelled input meets in its container;
and the warnings DeprecationError, AsyncUsageWarning and ServerWarning.

Each class has a stable ``code``; an error carries ``hints``: what the user can do next, in order.
Domain code never prints; :mod:`byoc.cli` renders an error once, hints last. Travels to containers,
so it runs on CPython 3.8.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Error(Exception):
    """Base of all byoc errors.

    ``message``: one sentence without a final period. ``hints``: what the user can do, in order.
    ``done``: what byoc already did about it (tried the next offer, ended the instance, ...).
    """

    code: str = "error"
    retryable: bool = False
    _more: tuple[str, ...] = ()
    """Further fields of :meth:`as_dict`, which the constructor takes as well."""

    def __init__(self, message: str = "", *, hints: tuple[str, ...] = (), done: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)
        self.done = done

    def as_dict(self) -> dict[str, Any]:
        """The error for ``--json``: code, message, retryable, done, remediation, and more for some
        classes; :func:`from_dict` makes the error of it again."""
        found: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "done": self.done,
            "remediation": list(self.hints),
        }
        found.update((name, getattr(self, name)) for name in self._more)
        return found


def from_dict(data: Mapping[str, Any]) -> Error:
    """The error that :meth:`Error.as_dict` described, of the class of its code."""
    kind = _by_code().get(data.get("code", ""), Error)
    error = kind(str(data.get("message", "")), hints=tuple(data.get("remediation", ())))
    error.done = str(data.get("done", ""))
    for name in kind._more:
        if name in data:
            setattr(error, name, data[name])
    return error


def _by_code() -> dict[str, type[Error]]:
    """Of classes that share a code the one nearest to the root."""
    found: dict[str, type[Error]] = {}
    level: list[type[Error]] = [Error]
    while level:
        for kind in level:
            found.setdefault(kind.code, kind)
        level = [below for kind in level for below in kind.__subclasses__()]
    return found


class AuthError(Error):
    """Credentials are missing, expired or wrong: renew them. Raised as :class:`AccessError`."""

    code = "auth"


class ConnectionError(Error):
    """The network failed for longer than byoc could bridge: try again. Raised as
    :class:`ConnectionLostError`. Not the builtin ``ConnectionError``, as in Modal."""

    code = "connection"


class ResourceExhaustedError(Error):
    """There is no more of it: wait, or ask for less. Raised as :class:`CapacityError`,
    :class:`QuotaError` or :class:`ThrottleError`."""

    code = "resource-exhausted"


class ServiceError(Error):
    """A cloud's service failed: try again. Raised as :class:`TransientError`."""

    code = "service"


class InternalError(Error):
    """byoc's own parts disagree or cannot work. Raised as :class:`AgentError`,
    :class:`ProtocolError` or :class:`StateError`."""

    code = "internal"


class UsageError(Error):
    """The code or the command has to change."""

    code = "usage"


class InvalidError(UsageError):
    """A wrong argument or a misuse, raised where it is made, before anything is rented."""

    code = "invalid"


class ArgumentError(InvalidError, TypeError):
    """An argument that is unknown, missing or of the wrong kind, where Python says TypeError."""

    code = "argument"


class ConflictError(InvalidError):
    """Two arguments, or the old and the new name of one, contradict each other: keep one."""

    code = "conflict"


class NotYetError(InvalidError):
    """A documented parameter whose feature this version lacks: refused by name, never ignored."""

    code = "not-yet"


class MissingNameError(NotYetError, AttributeError):
    """A public name of Modal's that this version lacks."""

    code = "not-yet"


class SettingsError(UsageError):
    """A setting is wrong; the message names its file and key."""

    code = "settings"


class NotFoundError(UsageError):
    """A named thing does not exist."""

    code = "not-found"


class PlacementError(Error):
    """No offer that the constraints allow can hold the request."""

    code = "no-offer"


class ProviderError(Error):
    """A provider refused. Keeps the vendor's own code, message and request id.

    ``scope``: what the refusal is about, the narrowest thing that is known to be shut: ``request``
    (only this one), ``offer`` (type, zone and market), ``type@zone`` (both markets), ``zone``,
    ``bucket`` (every offer that draws on the quota ``bucket`` in the region), ``spot`` (the market
    in the whole account), ``region``, ``cloud``. ``remember``: seconds for which placement keeps
    off it, 0 for not at all. ``zones``: zones that the cloud itself says to try instead.
    """

    code = "provider"
    _more = ("provider", "vendor_code", "request_id", "scope", "bucket", "remember", "zones")

    def __init__(
        self,
        message: str = "",
        *,
        provider: str = "",
        vendor_code: str = "",
        request_id: str = "",
        scope: str = "",
        bucket: str = "",
        remember: float = 0.0,
        zones: tuple[str, ...] = (),
        hints: tuple[str, ...] = (),
        done: str = "",
    ) -> None:
        super().__init__(message, hints=hints, done=done)
        self.provider = provider
        self.vendor_code = vendor_code
        self.request_id = request_id
        self.scope = scope
        self.bucket = bucket
        self.remember = remember
        self.zones = zones


class CapacityError(ProviderError, ResourceExhaustedError):
    """The cloud has none of this now: try another zone, region, type or cloud."""

    code = "capacity"
    retryable = True


class NotOfferedError(ProviderError):
    """The cloud does not sell this type there at all: try another zone or region."""

    code = "not-offered"


class QuotaError(ProviderError, ResourceExhaustedError):
    """The account may not hold more of this."""

    code = "quota"


class BadRequestError(ProviderError):
    """The request itself is wrong; asking again cannot help."""

    code = "bad-request"


class AccessError(ProviderError, AuthError):
    """Credentials are missing, expired or lack a permission."""

    code = "access"


class ThrottleError(ProviderError, ResourceExhaustedError):
    """Asked too often: the same request is right, later."""

    code = "throttle"
    retryable = True


class TransientError(ProviderError, ServiceError):
    """The cloud failed to answer properly: the outcome is unknown until asked again. With scope
    ``region`` the region answers no question at all."""

    code = "transient"
    retryable = True


class TokenError(ProviderError):
    """The launch token stands for another request, or for an instance that has ended: look up what
    exists; a new attempt has a new token."""

    code = "token"


class UnclassifiedError(ProviderError):
    """A vendor code that no table row knows; logged, and the next offer is tried."""

    code = "unclassified"
    retryable = True


class InstanceError(Error):
    """An instance misbehaved."""

    code = "instance"
    retryable = True


class BootError(InstanceError):
    """The instance did not become reachable in time, or ended while booting. ``hop``: what was
    waited for; ``console``: the end of what the machine printed, where the cloud keeps that."""

    code = "boot"
    _more = ("hop", "console")

    def __init__(
        self,
        message: str = "",
        *,
        hop: str = "",
        console: str = "",
        hints: tuple[str, ...] = (),
        done: str = "",
    ) -> None:
        super().__init__(message, hints=hints, done=done)
        self.hop = hop
        self.console = console


class BadHostError(InstanceError):
    """The machine's GPUs are missing, broken or not those that were offered; it was ended.
    ``findings``: each thing that is wrong, a sentence each. ``image``: what is wrong is the machine
    image and not this one host: another would be the same."""

    code = "bad-host"
    _more = ("findings", "image")

    def __init__(
        self,
        message: str = "",
        *,
        findings: tuple[str, ...] = (),
        image: bool = False,
        hints: tuple[str, ...] = (),
        done: str = "",
    ) -> None:
        super().__init__(message, hints=hints, done=done)
        self.findings = findings
        self.image = image


class HostKeyError(InstanceError):
    """The machine that answered is not the one we booted; nothing was sent to it."""

    code = "host-key"
    retryable = False


class ConnectionLostError(InstanceError, ConnectionError):
    """The connection broke and could not be resumed within the lease."""

    code = "connection-lost"


class AgentError(InstanceError, InternalError):
    """The runtime agent could not start, or speaks another protocol version."""

    code = "agent"


class ProtocolError(InstanceError, InternalError):
    """The peer sent bytes that are not a frame of ours."""

    code = "protocol"


class StateError(InternalError):
    """The journal cannot be opened or written."""

    code = "state"


class BudgetError(Error):
    """The run would cost, or has cost, more than allowed."""

    code = "budget"


class ExecutionError(Error):
    """The call cannot be made, or its outcome cannot be given."""

    code = "execution"


class RemoteError(ExecutionError):
    """The remote side failed without an exception object of its own."""

    code = "remote"


class ContainerError(RemoteError):
    """The container died: ``reason`` is ``exit``, ``signal``, ``oom``, ``start`` or ``lost``."""

    code = "container"
    _more = ("reason", "exit_code")

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        exit_code: int | None = None,
        hints: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hints=hints)
        self.reason = reason
        self.exit_code = exit_code


class CancelledError(RemoteError):
    """The call was cancelled."""

    code = "cancelled"


class ImageBuildError(RemoteError):
    """A step of the image failed. ``log`` keeps the end of what it printed; ``image_id`` names the
    image, as BYOC_IMAGE_ID does in a container; empty where none was made yet."""

    code = "image-build"
    _more = ("image_id",)

    def __init__(
        self,
        message: str = "",
        *,
        log: str = "",
        image_id: str = "",
        hints: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hints=hints)
        self.log = log
        self.image_id = image_id


class SerializationError(ExecutionError):
    """A value cannot be pickled."""

    code = "serialization"


class RequestSizeError(SerializationError):
    """A value is larger than what can be sent at once: send less, or in parts."""

    code = "request-size"


class DeserializationError(ExecutionError):
    """A value arrived but cannot be unpickled here; the message says why."""

    code = "deserialization"


class TimeoutError(ExecutionError):
    """Base of byoc's own timeouts. Not the builtin ``TimeoutError``, as in Modal."""

    code = "timeout"


class FunctionTimeoutError(TimeoutError):
    """The function ran past its ``timeout`` (per attempt; queueing and start-up not counted)."""

    code = "function-timeout"


class OutputExpiredError(TimeoutError):
    """The result is no longer kept."""

    code = "output-expired"


BuiltinTimeoutError = builtins.TimeoutError
"""What ``FunctionCall.get(timeout=)`` raises while the result is not there, as in Modal."""


# --- beside the tree ------------------------------------------------------------------------


class InputCancellation(BaseException):
    """Raised inside a container's function when its input is cancelled, so that ``finally`` and
    context managers run. Not an Exception, so that ``except Exception`` does not stop it. An async
    function meets ``asyncio.CancelledError`` instead."""


class DeprecationError(UserWarning):
    """An old name was used: it works, and the warning says what to write now. Shown once per name
    and place."""


class AsyncUsageWarning(UserWarning):
    """A blocking call was made inside a running event loop, which stands still meanwhile: await
    its ``.aio`` twin."""


class ServerWarning(UserWarning):
    """Something remote is not as it should be, but the call goes on."""
