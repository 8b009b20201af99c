"""Emulated AWS accounts for the adapter's tests, and boto3 beside it as an independent eye."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest

from byoc.providers.aws.provider import AwsProvider
from tests.clouds.accounts import Account, opened

Open = Callable[..., Account]


@pytest.fixture(scope="package", autouse=True)
def models_read_once() -> Iterator[None]:
    """Each test opens an account of its own, and botocore reads a model of 3 MiB for each session:
    a quarter of a second that is saved by lending all sessions one reader."""
    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda *_: loader)
        yield


@pytest.fixture
def rented() -> Iterator[Open]:
    """Opens accounts with a scenario each; all are cleared at the end of the test."""
    with ExitStack() as stack:
        yield lambda text="": stack.enter_context(opened("emulated-aws", text))


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """One account without a scenario, for the tests of a module that do not disturb each other."""
    with opened("emulated-aws") as account:
        yield account


def boto(service: str = "ec2", region: str = "us-east-1") -> Any:
    """boto3's own client of the account that is open."""
    return boto3.Session().client(service, region_name=region)


def aws(account: Account) -> AwsProvider:
    """The adapter itself."""
    assert isinstance(account.provider, AwsProvider)
    return account.provider


def fault(op: str, error: str, times: int = 1, **match: str) -> str:
    """A scenario's table for one fault of AWS."""
    rows = "".join(f"{name} = '{value}'\n" for name, value in match.items())
    table = f"[fault.match]\n{rows}" if rows else ""
    return f"[[fault]]\ncloud = 'aws'\nop = '{op}'\nerror = '{error}'\ntimes = {times}\n{table}"
