"""Moments of a rehearsal: told once each, by machines that ask for it and by no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.runtime_agent.machine import Machine


@pytest.fixture
def told(fresh: Machine) -> Path:
    """Where moments are told."""
    path = fresh.home / "moments"
    fresh.shell = f"export BYOC_MOMENTS={path}; "
    return path


def test_of_a_function(fresh: Machine, told: Path) -> None:
    """The first input is told when it comes, the first result when it goes, later ones never."""
    client = fresh.client()
    running = client.ready("kinds.add")
    assert not told.exists()
    running.call(1, 2)
    assert told.read_text() == "first-input\nfirst-result\n"
    running.call(3, 4)
    assert client.ready("kinds.add").call(5, 6) == 11
    assert told.read_text() == "first-input\nfirst-result\n"


def test_large_and_broken_up(fresh: Machine, told: Path) -> None:
    """Inputs and results that come in many pieces are seen all the same."""
    client = fresh.client()
    data = b"x" * 3_000_000
    assert client.ready("kinds.add").call(data, data) == data + data
    assert told.read_text() == "first-input\nfirst-result\n"


def test_of_a_program(fresh: Machine, told: Path) -> None:
    """A program's start is its first input, and its end its first result."""
    client = fresh.client()
    running = client.command("cat")
    client.until(told.exists)
    assert told.read_text() == "first-input\n"
    running.close()
    running.wait()
    assert told.read_text() == "first-input\nfirst-result\n"


def test_user_code_does_not_see_it(fresh: Machine, told: Path) -> None:
    """The variable is the agent's own."""
    client = fresh.client()
    running = client.command("env")
    running.wait()
    assert b"BYOC_MOMENTS" not in running.out()


def test_nobody_reads(fresh: Machine, told: Path) -> None:
    """A pipe without a reader delays nothing."""
    os.mkfifo(told)
    assert fresh.client().ready("kinds.add").call(1, 2) == 3
    assert "cannot be told" in fresh.log
