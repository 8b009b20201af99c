"""Machines with an agent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from byoc.runtime_agent import bundle
from byoc.runtime_agent.bundle import Bundle
from tests.conftest import new_home
from tests.runtime_agent.machine import Client, Machine


@pytest.fixture(scope="session")
def agent_bundle() -> Bundle:
    """The bundle of this source tree."""
    return bundle.build()


@pytest.fixture
def fresh(agent_bundle: Bundle) -> Iterator[Machine]:
    """A machine of the test's own; no process of it may be left afterwards."""
    yield from _machine(agent_bundle)


@pytest.fixture(scope="module")
def shared(agent_bundle: Bundle) -> Iterator[Machine]:
    """A machine that the tests of one file use in turn."""
    yield from _machine(agent_bundle)


@pytest.fixture
def client(shared: Machine) -> Iterator[Client]:
    """A session of the test's own on the shared machine."""
    client = shared.client(takeover=True)
    yield client
    client.cut()


def _machine(agent_bundle: Bundle) -> Iterator[Machine]:
    home = new_home()
    machine = Machine(home, agent_bundle)
    yield machine
    machine.close()
    shutil.rmtree(home)
