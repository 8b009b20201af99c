"""Ctrl-C once, twice, at the wrong moment; SIGTERM; a reader that leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import IO

import pytest

from tests.helpers import until

PROGRAM = """
import os, queue, signal, sys, threading
from byoc.cli.interrupts import Interrupts
from byoc.engine import threads

def say(word):
    print(word, flush=True)

def wait():
    say("waiting")
    threads.take(queue.SimpleQueue())

with Interrupts() as interrupts:
    try:
{body}
    except KeyboardInterrupt:
        say("interrupted")
        {after}
say("end")
"""


def start(
    env: dict[str, str], body: str, after: str = "pass", **more: object
) -> subprocess.Popen[str]:
    """A program that handles signals as a run does."""
    indented = "".join(f"        {line}\n" for line in body.splitlines())
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", PROGRAM.format(body=indented, after=after)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def heard(stream: IO[str] | None, word: str) -> None:
    """Read until the program says ``word``."""
    assert stream is not None
    for line in stream:
        if line.strip() == word:
            return
    raise AssertionError(f"it never said {word}")


def again(program: subprocess.Popen[str]) -> bool:
    """Send Ctrl-C once more; whether the program has ended."""
    if program.poll() is None:
        program.send_signal(signal.SIGINT)
    return program.poll() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_cancels(number: int, shared_env: dict[str, str]) -> None:
    """The first signal is a KeyboardInterrupt in the main thread, wherever that waits."""
    with start(shared_env, "wait()") as program:
        heard(program.stdout, "waiting")
        program.send_signal(number)
        out, err = program.communicate(timeout=30)
    assert out.split() == ["interrupted", "end"] and program.returncode == 0
    assert "cancelling" in err


def test_the_second_signal_quits_at_once(shared_env: dict[str, str]) -> None:
    """While the first is being answered, the second ends the process with 130."""
    with start(shared_env, "wait()", after="wait()") as program:
        heard(program.stdout, "waiting")
        program.send_signal(signal.SIGINT)
        heard(program.stdout, "waiting")
        until(lambda: again(program), 10)
        out, err = program.communicate(timeout=30)
    assert program.returncode == 130 and "end" not in out
    assert "lease" in err


def test_an_echo_of_the_first_signal_is_no_second_one(shared_env: dict[str, str]) -> None:
    """Sent to a group, a signal may come directly and again through a parent: the end is not cut
    short by it."""
    body = "os.kill(os.getpid(), signal.SIGTERM)"
    with start(shared_env, f"{body}; wait()", after=body) as program:
        out, err = program.communicate(timeout=30)
    assert "end" in out.split() and program.returncode == 0
    assert "lease" not in err


def test_a_signal_does_not_cut_the_end_short(shared_env: dict[str, str]) -> None:
    """Once the run ends by itself the first signal only says so; the second still quits."""
    body = "interrupts.ending()\nsay('ending')\nsys.stdin.read()"
    with start(shared_env, body, stdin=subprocess.PIPE) as program:
        heard(program.stdout, "ending")
        program.send_signal(signal.SIGINT)
        heard(program.stderr, "byoc: already ending; press Ctrl-C again to quit at once")
        out, _ = program.communicate(timeout=30)
    assert out.split() == ["end"] and program.returncode == 0


def test_a_reader_that_leaves_wakes_the_main_thread(shared_env: dict[str, str]) -> None:
    """Another thread can cancel the main one, without a word and although it waits for a lock."""
    body = "threading.Timer(0.05, interrupts.leave).start()\nwait()"
    with start(shared_env, body) as program:
        out, err = program.communicate(timeout=30)
    assert out.split() == ["waiting", "interrupted", "end"] and err == ""


def test_nohup_is_respected(shared_env: dict[str, str]) -> None:
    """A signal that the caller ignores stays ignored."""
    body = "say(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    program = PROGRAM.format(body=f"        {body}\n", after="pass").replace(
        "import queue", "import signal, queue"
    )
    command = ["sh", "-c", 'trap "" HUP; exec "$0" -c "$1"', sys.executable, program]
    done = subprocess.run(command, env=shared_env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "end"]


def test_handlers_are_given_back() -> None:
    """Afterwards signals mean what they meant before."""
    from byoc.cli.interrupts import Interrupts

    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
