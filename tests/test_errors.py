"""The tree of errors: what travels as data, and Modal's names for it."""

from __future__ import annotations

import pickle

import pytest

from byoc import errors, exception


def every() -> list[type[errors.Error]]:
    """All classes of the tree."""
    found, level = [], [errors.Error]
    while level:
        found += level
        level = [below for kind in level for below in kind.__subclasses__()]
    return list(dict.fromkeys(kind for kind in found if kind.__module__ == errors.__name__))


@pytest.mark.parametrize("kind", every(), ids=lambda kind: kind.__name__)
def test_an_error_comes_back_from_data_and_from_a_pickle(kind: type[errors.Error]) -> None:
    """Its class, or the nearest one with its code, its words and fields."""
    error = kind("it broke", hints=("mend it",))
    error.done = "tried"
    for name in kind._more:
        setattr(error, name, "3")
    for again in (errors.from_dict(error.as_dict()), pickle.loads(pickle.dumps(error))):
        assert isinstance(error, type(again))
        assert again.as_dict() == error.as_dict()
        assert str(again) == "it broke"


def test_an_unknown_code_is_still_an_error() -> None:
    """A newer peer may know codes that this one does not."""
    assert type(errors.from_dict({"code": "from-the-future", "message": "m"})) is errors.Error


MODAL = {
    "InvalidError": "Error",
    "NotFoundError": "Error",
    "ExecutionError": "Error",
    "RemoteError": "Error",
    "TimeoutError": "Error",
    "FunctionTimeoutError": "TimeoutError",
    "OutputExpiredError": "TimeoutError",
    "InteractiveTimeoutError": "TimeoutError",
    "MountUploadTimeoutError": "TimeoutError",
    "VolumeUploadTimeoutError": "TimeoutError",
    "SandboxTimeoutError": "TimeoutError",
    "ExecTimeoutError": "TimeoutError",
    "SandboxTerminatedError": "Error",
    "AuthError": "Error",
    "PermissionDeniedError": "Error",
    "VersionError": "Error",
    "ConnectionError": "Error",
    "AlreadyExistsError": "Error",
    "ConflictError": "InvalidError",
    "DataLossError": "Error",
    "ResourceExhaustedError": "Error",
    "ServiceError": "Error",
    "UnimplementedError": "Error",
    "InternalError": "Error",
    "InternalFailure": "Error",
    "SerializationError": "Error",
    "DeserializationError": "Error",
    "RequestSizeError": "Error",
    "ImageBuildError": "RemoteError",
    "ClientClosed": "Error",
}


@pytest.mark.parametrize(("name", "base"), MODAL.items())
def test_modals_names_have_modals_bases(name: str, base: str) -> None:
    """Behaviour 30: except clauses written for modal.exception catch the same."""
    assert issubclass(getattr(exception, name), getattr(exception, base))
    assert name in exception.__all__


def test_what_is_no_error() -> None:
    """Behaviour 30: warnings are UserWarnings, a cancelled input meets a BaseException, and
    byoc's timeouts and connection errors are not the builtin ones."""
    for name in ("DeprecationError", "ServerWarning", "AsyncUsageWarning", "InternalAPIWarning"):
        assert issubclass(getattr(exception, name), UserWarning)
    assert issubclass(exception.InputCancellation, BaseException)
    assert not issubclass(exception.InputCancellation, Exception)
    assert not issubclass(exception.TimeoutError, TimeoutError)
    assert not issubclass(exception.ConnectionError, ConnectionError)
    assert exception.ImageBuildError("x", image_id="im-1").image_id == "im-1"
    with pytest.raises(exception.NotYetError):
        exception.simulate_preemption(1)
