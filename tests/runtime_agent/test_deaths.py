"""However a container ends, the client is told how, and no process and no other call is harmed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from byoc import limits
from byoc.container import zygote
from byoc.runtime_agent import handoff
from byoc.runtime_agent.board import SIZE
from tests.helpers import ROOT, alive, until
from tests.runtime_agent.machine import LOGS, Client, Machine

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("how", "code", "number"),
    [
        ("quit", 7, None),
        ("quit well", 0, None),
        ("segfault", None, signal.SIGSEGV),
        ("kill", None, signal.SIGKILL),
        ("abort", None, signal.SIGABRT),
        ("group", None, signal.SIGKILL),
        ("term", 143, None),
    ],
)
def test_the_last_word_says_how_and_for_which_input(
    client: Client, how: str, code: int | None, number: int | None
) -> None:
    """A container that dies in user code names the exit code or the signal, and the input."""
    running = client.ready("hostile.leave")
    idents = running.put((how,), (how,))
    word = running.wait()
    assert (word["code"], word["signal"]) == (code, number)
    assert word["reason"] == ("exit" if number is None else "signal")
    assert word["inputs"] == ([] if how == "term" else [idents[0]])
    assert not running.outcomes


def test_exits_in_user_code_are_exceptions(client: Client) -> None:
    """sys.exit ends the call and not the container."""
    running = client.ready("hostile.leave")
    assert str(running.error("exit")) == "the function raised SystemExit(3)"
    assert str(running.error("exit text")) == "the function raised SystemExit(words)"
    assert running.word is None


def test_a_stack_overflow_is_an_honest_failure(client: Client) -> None:
    """A recursion without any limit is a signal, or an exception where Python guards its stack."""
    running = client.ready("hostile.exhaust")
    (ident,) = running.put(())
    client.until(lambda: running.word or ident in running.outcomes, "the end of the stack")
    if running.word is None:
        with pytest.raises(RecursionError):
            running.value(ident)
        return
    assert running.word["reason"] == "signal"
    assert running.word["signal"] in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
    assert running.word["inputs"] == [ident]


def test_results_before_a_death_are_kept(client: Client) -> None:
    """What finished before another input killed the container is delivered."""
    running = client.ready("hostile.leave")
    assert str(running.error("exit")) == "the function raised SystemExit(3)"
    running.put(("quit",))
    running.wait()
    assert len(running.outcomes) == 1


def test_a_zygote_killed_by_user_code_is_replaced(client: Client) -> None:
    """Killing the parent takes all containers of that environment along; new ones start."""
    running, other = client.ready("hostile.leave"), client.ready("kinds.add")
    running.put(("parent",))
    assert running.wait()["reason"] == "lost"
    assert other.wait()["reason"] == "lost"
    until(lambda: not alive(other.pid), 10)
    assert client.ready("kinds.add").call(1, 2) == 3


# --- time limits ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hostile.sleep", "hostile.sleep_later", "hostile.spin"])
def test_a_timeout_kills_and_names_its_input(client: Client, name: str) -> None:
    """An input that runs too long ends its container; the time of waiting inputs does not count."""
    running = client.ready(name, timeout=0.2)
    idents = running.put(*([()] if name == "hostile.spin" else [(60,), (60,)]))
    word = running.wait()
    assert (word["reason"], word["inputs"]) == ("timeout", idents[:1])
    until(lambda: not alive(running.pid), 10)


def test_a_timeout_counts_per_input(client: Client) -> None:
    """Many short inputs together may take longer than the limit for each."""
    running = client.ready("hostile.sleep", timeout=0.5)
    idents = running.put(*[(0.1,)] * 8)
    assert [running.value(ident) for ident in idents] == [0.1] * 8


def test_a_start_that_takes_too_long_is_killed(client: Client) -> None:
    """A module whose import never ends is killed by the limit for starting."""
    folder = client.machine.home / "endless"
    folder.mkdir()
    (folder / "endless.py").write_text("while True: pass\n")
    word = client.function("endless.f", root=str(folder), startup=0.3).wait()
    assert word["reason"] == "timeout"


def test_an_interpreter_that_never_answers_is_given_up(fresh: Machine) -> None:
    """Where not even the environment's Python starts, the limit for starting still holds."""
    stuck = fresh.home / "python"
    stuck.write_text("#!/bin/sh\nexec sleep 1000\n")
    stuck.chmod(0o755)
    client = fresh.client()
    word = client.function("kinds.add", interpreter=str(stuck), startup=0.3).wait()
    assert word["reason"] == "timeout"
    assert client.ready("kinds.add").call(1, 2) == 3


@pytest.mark.parametrize("text", [None, "#!/bin/sh\nexit 3\n", "#!/no/such/interpreter\n"])
def test_an_interpreter_that_does_not_start(client: Client, text: str | None) -> None:
    """An environment whose Python is missing or broken is a failed start that says so."""
    broken = client.machine.home / f"python-{len(text or '')}"
    if text is not None:
        broken.write_text(text)
        broken.chmod(0o755)
    word = client.function("kinds.add", interpreter=str(broken)).wait()
    assert word["reason"] == "start"
    assert "3" in word["detail"] if text and "exit" in text else "No such file" in word["detail"]


# --- kills ------------------------------------------------------------------------------------


def test_a_kill_before_the_container_began(client: Client) -> None:
    """A container killed at once, before its process exists, ends all the same."""
    running = [client.function("hostile.spin") for _ in range(3 * zygote.MOST_SPARES)]
    for one in running:
        one.kill("cancelled")
    assert {one.wait()["reason"] for one in running} == {"cancelled"}
    ready = client.ready("kinds.add")
    word = "their processes to end"
    until(lambda: not _containers_of(client.machine, 2 + zygote.MOST_SPARES), 10, word)
    assert ready.call(1, 2) == 3


def _containers_of(machine: Machine, least: int) -> bool:
    """Whether the agent has at least so many grandchildren."""
    children = _children(machine.agent)
    return sum(len(_children(child)) for child in children) >= least


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def test_leaving_before_it_has_begun(client: Client) -> None:
    """A container that is told to leave in the moment of its start does so, and says nothing."""
    for _ in range(20):
        running = client.function("kinds.where")
        running.kill("stopped", grace=20)
        word = running.wait()
        assert word["reason"] == "stopped"
        assert b"Traceback" not in running.out(2)


def test_a_kill_reaches_code_that_ignores_signals(client: Client) -> None:
    """SIGTERM with a grace, and then SIGKILL; the reason is the client's."""
    running = client.ready("hostile.deaf")
    running.put(())
    client.until(running.out, "it to be deaf")
    running.kill("stopped", grace=0.2)
    word = running.wait()
    assert (word["reason"], word["signal"]) == ("stopped", signal.SIGKILL)


def test_code_that_swallows_the_end_still_ends(client: Client) -> None:
    """SIGTERM raises in user code; when that catches all and returns, no input follows."""
    running = client.ready("hostile.swallow")
    idents = running.put((), ())
    client.until(running.out, "it to wait")
    running.kill("stopped", grace=20)
    word = running.wait()
    assert (word["reason"], word["code"]) == ("stopped", 143)
    assert running.value(idents[0]) == "Leaving"
    assert idents[1] not in running.outcomes


def test_a_frozen_container_is_killed(client: Client) -> None:
    """A stopped process cannot keep a container alive."""
    running = client.ready("hostile.sleep")
    os.kill(running.pid, signal.SIGSTOP)
    running.kill("cancelled")
    assert running.wait()["reason"] == "cancelled"


def test_a_kill_of_what_is_gone_is_nothing(client: Client) -> None:
    """Killing twice, or what never was, harms nobody."""
    running = client.ready("kinds.add")
    running.kill()
    running.kill("cancelled", grace=1)
    client.send({"t": "kill", "c": 4711})
    assert running.wait()["reason"] == "stopped"
    running.kill()
    assert client.ready("kinds.add").call(1, 1) == 2


# --- exit hooks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "left"),
    [("work", "done"), ("raise", "begun"), pytest.param("hang", "begun", marks=pytest.mark.slow)],
)
def test_exit_hooks_get_their_grace(client: Client, how: str, left: str) -> None:
    """Hooks run when a container is closed; one that hangs is killed after the grace."""
    mark = client.machine.home / f"hook-{how}"
    running = client.ready("hostile.hook")
    running.call(str(mark), how)
    running.close()
    if how == "hang":
        client.until(mark.exists, "the hook")
        assert running.word is None
    word = client.until(lambda: running.word, seconds=limits.EXIT_GRACE * 3)
    assert mark.read_text() == left
    assert word is not None
    assert word["inputs"] == []
    assert word["signal"] == (signal.SIGKILL if how == "hang" else None)


def test_threads_do_not_keep_a_container(client: Client) -> None:
    """A thread that user code left running ends with the container."""
    running = client.ready("hostile.threads")
    assert running.call() >= 2
    running.close()
    assert running.wait()["code"] == 0


def test_containers_leave_no_descriptors(client: Client) -> None:
    """Neither the agent nor a zygote holds anything of containers that have ended."""
    ended = [client.ready("kinds.add"), client.command("true")]
    ended[0].kill()
    for one in ended:
        one.wait()
    agent = client.machine.agent
    watched = [agent, *_children(agent)]
    before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in watched]
    for number in range(40):
        function, program = client.function("kinds.add"), client.command("sh", "-c", "cat; exit 2")
        if number % 2:
            function.wait_ready()
        function.kill()
        program.kill() if number % 3 else program.close()
        function.wait()
        program.wait()
        client.command("no-such-program").wait()
    client.request({"t": "nothing"})
    after = [len(os.listdir(f"/proc/{pid}/fd")) for pid in watched]
    assert after[0] == before[0]
    assert max(after[1:]) <= max(before[1:]) + zygote.MOST_SPARES


# --- what user code leaves behind -------------------------------------------------------------


def test_children_of_a_container_end_with_it(client: Client) -> None:
    """Programs that user code left running in its group are killed when the container ends."""
    running = client.ready("hostile.children")
    pid = running.call(False)
    assert alive(pid)
    running.close()
    running.wait()
    until(lambda: not alive(pid), 10)


def test_a_daemon_that_holds_the_output_does_not_hold_the_end(client: Client) -> None:
    """Output that somebody else keeps open, or fills for ever, delays no last word."""
    quiet, loud = client.ready("hostile.children"), client.ready("hostile.flooding_child")
    pids = [quiet.call(True), loud.call()]
    try:
        for running in (quiet, loud):
            running.close()
            assert running.wait()["code"] == 0
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # the guard was there first
                os.kill(pid, signal.SIGKILL)


def test_what_the_dead_left_waits_for_a_slow_reader(fresh: Machine) -> None:
    """Output that keeps coming after a container's end is read no faster than the client reads."""
    client = fresh.client()
    client.slow.add(LOGS)
    loud = client.ready("hostile.flooding_child")
    pid = loud.call()
    try:
        client.until(lambda: len(loud.out()) > 3 * MB, "the flood")
        small = fresh.rss()
        loud.close()
        client.until(lambda: not alive(loud.pid), "it to end")
        for _ in range(10):
            client.pump(0.02)
        assert fresh.rss() - small < 30 * MB
        client.use(LOGS)
        assert loud.wait()["code"] == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # the guard was there first
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 1), ("exit", 5)])
def test_a_forked_child_that_returns_sends_nothing(client: Client, how: str, code: int) -> None:
    """A child that user code forks ends where the function does; only the parent answers."""
    running = client.ready("hostile.fork")
    assert running.call(how) == code
    assert running.call(how) == code


def test_a_forked_child_of_a_generator(client: Client) -> None:
    """A forked copy of a generator yields nothing to the client."""
    running = client.ready("hostile.fork_items", generator=True)
    (ident,) = running.put((3,))
    client.until(lambda: ident in running.outcomes)
    assert len(running.items[ident]) == 3


def test_a_fork_bomb_takes_nobody_along(client: Client) -> None:
    """A container that forks and forks ends alone, and what it forked ends with it."""
    running, other = client.ready("hostile.bomb"), client.ready("kinds.add")
    pids = running.call(150)
    assert len(pids) > 1
    assert other.call(1, 2) == 3
    running.kill()
    running.wait()
    until(lambda: not any(alive(pid) for pid in pids), 10)
    assert client.ready("kinds.add").call(3, 4) == 7


def test_a_fork_that_fails_is_told_and_harms_no_other(tmp_path: Path) -> None:
    """A zygote that may not fork says why, and forks again when it may."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    full = tmp_path / "full"
    full.touch()
    sabotage = (
        "import errno, os, sys\n"
        "real = os.fork\n"
        "def fork():\n"
        f"    if os.path.exists({str(full)!r}):\n"
        "        raise OSError(errno.EAGAIN, 'no more processes')\n"
        "    return real()\n"
        "os.fork = fork\n"
        "from byoc.container import zygote\n"
        f"zygote.main({theirs.fileno()})\n"
    )
    argv = [sys.executable, "-c", sabotage]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with ours, theirs, subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=environ) as process:
        lines = ours.makefile("rb")
        with lines, (tmp_path / "board").open("wb+") as board:
            board.truncate(SIZE)
            assert b"ready" in lines.readline()
            answers = []
            for number in (1, 2):
                handoff.request(ours, {"n": number}, [theirs.fileno(), 1, 2, board.fileno()])
                answers.append(json.loads(lines.readline()))
                full.unlink(missing_ok=True)
        first, second = answers
        assert "no more processes" in first["error"]
        assert second["n"] == 2 and second["pid"] > 0
        process.kill()


# --- stdio ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["stdout", "stderr", "both descriptors", "no stdout", "broken stdout", "loop"]
)
def test_closed_output_harms_no_result(client: Client, what: str) -> None:
    """User code may close or replace its output; values and exceptions still travel."""
    running = client.ready("hostile.close")
    assert running.call(what) == what
    assert running.call("nothing more") == "nothing more"
    failing = client.ready("hostile.fail_after")
    error: Any = failing.error(what)
    assert (type(error), error.args) == (LookupError, (what,))
    failing.close()
    assert failing.wait()["code"] == 0


def test_closing_every_descriptor_is_an_honest_end(client: Client) -> None:
    """User code that closes the container's own socket ends the container, and is told so."""
    running = client.ready("hostile.close")
    running.put(("everything",))
    word = running.wait()
    assert word["reason"] == "exit"
    assert word["code"] != 0


@pytest.mark.parametrize("name", ["close_loop", "close_own_loop"])
def test_a_loop_that_user_code_stops(client: Client, name: str) -> None:
    """An event loop that was stopped does not spoil later inputs."""
    running = client.ready("hostile." + name)
    assert running.call("one") == "one"
    assert running.call("two") == "two"


def test_a_death_while_idle_names_no_input(client: Client) -> None:
    """A container that ends between two inputs blames none."""
    running = client.ready("hostile.die_later")
    running.call(0.05)
    word = running.wait()
    assert (word["code"], word["inputs"]) == (9, [])


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64 * MB, pytest.param(256 * MB, marks=pytest.mark.slow)])
def test_a_large_argument_and_result(fresh: Machine, size: int) -> None:
    """Megabytes each way pass through the agent, which keeps a small part of them at a time."""
    client = fresh.client()
    measure, blob = client.ready("hostile.measure"), client.ready("hostile.blob")
    small = most = fresh.rss()
    data = bytearray(size)
    data[:3], data[-3:] = b"abc", b"xyz"
    (first,) = measure.put((data,))
    (second,) = blob.put((size,))

    def both() -> bool:
        nonlocal most
        most = max(most, fresh.rss())
        return first in measure.outcomes and second in blob.outcomes

    client.until(both, "both", seconds=50)
    assert measure.value(first) == (size, b"abc", b"xyz")
    assert len(blob.value(second)) == size
    assert most - small < 40 * MB, f"grew by {(most - small) / MB:.0f} MB"


def test_a_print_flood_arrives_whole(client: Client) -> None:
    """A hundred thousand lines arrive in order, behind the result at the latest by a flush."""
    running = client.ready("hostile.flood")
    running.call(100_000)
    client.flush()
    lines = running.out().split(b"\n")
    assert lines == [b"line %d" % i for i in range(100_000)] + [b""]
