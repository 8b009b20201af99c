"""An emulated project for a test, and shorthands for what a scenario does to a launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import ProviderError
from byoc.pricing import catalog
from byoc.providers.gcp.provider import GcpProvider
from byoc.resources import Offer
from tests.clouds.accounts import Account, opened
from tests.helpers import until

ZONE = "us-central1-a"
INSERT = "compute.instances.insert"
Open = Callable[[str], Account]


@pytest.fixture
def project() -> Iterator[Open]:
    """Opens emulated projects with a scenario's text; all of them end with the test."""
    with ExitStack() as stack:
        yield lambda text="": stack.enter_context(opened("emulated-gcp", text))


@pytest.fixture
def gcp(project: Open) -> Account:
    """A project to which nothing happens."""
    return project("")


def provider(account: Account, **options: str) -> GcpProvider:
    """The account's adapter with other settings than the environment's."""
    import os

    environ = dict(os.environ)
    told = {"endpoint": environ["BYOC_GCP_ENDPOINT"], "project": environ["BYOC_GCP_PROJECT"]}
    told["key_file"] = environ["BYOC_GCP_KEY_FILE"]
    return GcpProvider(Path(account.home), SYSTEM, environ, {**told, **options})


def offer(type: str, market: str = "on-demand", zone: str = ZONE) -> Offer:
    """An offer of the catalogue in a zone."""
    found = catalog.find("gcp", zone.rpartition("-")[0], type, market)
    assert found is not None, f"{type} is not sold there"
    return found._replace(zone=zone)


def fault(error: str, op: str = INSERT, times: int = 1, **more: str | int) -> str:
    """A scenario's table by which the operation fails."""
    lines = ["[[fault]]", 'cloud = "gcp"', f'op = "{op}"', f'error = "{error}"', f"times = {times}"]
    lines += [f"{key} = {value!r}" for key, value in more.items()]
    return "\n".join(lines) + "\n"


def refusal(account: Account, wanted: Offer, token: str = "") -> ProviderError:
    """Why an offer could not be launched, be it at once or by an operation that failed."""
    try:
        launched = account.provider.launch(account.request(wanted, token))
    except ProviderError as error:
        return error

    def look() -> ProviderError | None:
        now = account.provider.get(launched.id)
        assert now.state in ("pending", "gone"), now
        return now.failure

    found = until(look, 10, "the launch to fail")
    assert found is not None
    return found
