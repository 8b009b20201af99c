"""What the tests stand on: waiting, looking at processes, and staying on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.helpers import alive, gone, processes_with, until


def test_until_returns_what_the_condition_gave() -> None:
    """The value that ended the wait is handed to the caller."""
    answers = iter([0, "", "found"])
    assert until(lambda: next(answers), 5) == "found"


def test_until_says_what_it_waited_for() -> None:
    """A wait that fails names the thing and shows the last look at it."""
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for the tide; last seen: 0"):
        until(lambda: 0, 0.01, "the tide")


def test_processes_are_found_by_argument_and_by_environment() -> None:
    """A process is seen by its command line and by the environment that it started with."""
    mark = f"byoc-mark-{os.getpid()}"
    code = "import sys; sys.stdin.read()"
    by_argument = [sys.executable, "-c", code, mark]
    by_environment = [sys.executable, "-c", code]
    with (
        subprocess.Popen(by_argument, stdin=subprocess.PIPE) as first,
        subprocess.Popen(
            by_environment, stdin=subprocess.PIPE, env={**os.environ, "M": mark}
        ) as second,
    ):
        until(lambda: {p.pid for p in processes_with(mark)} == {first.pid, second.pid}, 10)
        assert alive(first.pid)
        with pytest.raises(AssertionError, match="still running"):
            gone(mark, 0.01)
        first.communicate()
        second.communicate()
    gone(mark)
    assert not alive(first.pid)


def test_a_connection_that_leaves_this_host_is_refused() -> None:
    """No test can reach another machine from the test process, by any address family."""
    for family, address in (
        (socket.AF_INET, ("192.0.2.1", 9)),
        (socket.AF_INET6, ("2001:db8::1", 9)),
    ):
        with socket.socket(family) as sock, pytest.raises(PermissionError, match="loopback"):
            sock.connect(address)
