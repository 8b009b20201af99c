"""Sessions of an agent: greeting, resuming after a cut, refusing, handing over, the lease."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from byoc.runtime_agent.bundle import Bundle
from byoc.wire import VERSION, messages
from tests.helpers import alive, processes_with, until
from tests.runtime_agent.machine import CONTROL, LOGS, Client, Machine

MB = 1024 * 1024


def other(bundle: Bundle) -> Bundle:
    """The same agent under another digest, as another version of byoc would bring."""
    return replace(bundle, digest="f" * 20)


def test_the_greeting_says_what_the_machine_is(shared: Machine) -> None:
    """A first contact starts an agent, and its hello tells what the client needs to know."""
    client = Client(shared)
    answer = client.attach(takeover=True)
    assert answer.pop("python")[0] == 3
    assert answer.pop("door") == str(shared.home / ".byoc/bulk/door")
    assert answer == {
        "v": VERSION,
        "fresh": True,
        "received": 0,
        "system": "linux" if os.path.exists("/proc") else "darwin",
        "home": str(shared.home),
    }


def test_one_agent_serves_all_connections(shared: Machine) -> None:
    """Another connection finds the agent that runs, and its private files are private."""
    first = shared.client(takeover=True)
    pid = shared.agent
    first.attach()
    shared.client(takeover=True)
    assert shared.agent == pid
    folder = shared.home / ".byoc"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "agent.log").stat().st_mode & 0o077 == 0


def test_many_first_contacts_start_one_agent(fresh: Machine) -> None:
    """Clients that race to an empty machine end at the same agent."""
    channels = [fresh.channel() for _ in range(4)]
    for channel in channels:
        assert channel.stdin is not None
        channel.stdin.write(fresh.bundle.stdin)
    until(lambda: fresh.log.count("byoc: agent") > 0, 10)
    client = fresh.client()
    assert fresh.log.count("byoc: agent") == 1
    for channel in channels:
        assert channel.stdin is not None and channel.stdout is not None
        channel.stdin.close()
        channel.stdout.close()
        until(lambda channel=channel: channel.poll() is not None, 10)  # type: ignore[misc]
    assert client.request({"t": "nothing"})["ok"] is False


def test_frames_in_flight_survive_a_cut(fresh: Machine) -> None:
    """Bytes lost on the way in both directions arrive after the next attach, once each."""
    client = fresh.client()
    echo = client.command("cat")
    sent = bytearray()
    for number in range(6):
        for _ in range(5):
            part = os.urandom(300_000)
            sent += part
            echo.write(part)
            client.pump(0.0)  # some of it is on the way, some of the echo too
        client.cut()
        if number % 2:
            assert client.attach()["fresh"] is False
            client.pump(0.05)
            client.cut()
        assert client.attach()["fresh"] is False
    echo.close()
    word = echo.wait()
    assert word["code"] == 0, word
    client.flush()
    assert len(echo.out()) == len(sent)
    assert echo.out() == bytes(sent)


def test_a_large_result_survives_cuts(fresh: Machine) -> None:
    """A result that is on its way through several connections arrives as it was sent."""
    client = fresh.client()
    running = client.ready("kinds.same")
    data = os.urandom(20 * MB)
    (ident,) = running.put((data,))
    for _ in range(8):
        for _ in range(10):
            client.pump(0.01)
        client.cut()
        assert client.attach()["fresh"] is False
    assert running.value(ident) == data


def test_work_goes_on_while_nobody_is_connected(fresh: Machine) -> None:
    """What a container does between two connections is delivered to the second."""
    client = fresh.client()
    running = client.ready("kinds.add")
    ident = running.put((1, 2))[0]
    client.pump(0.0)
    client.cut()
    client.attach()
    assert running.value(ident) == 3
    program = client.command("sh", "-c", "read line; echo got $line; exit 3")
    program.write(b"it\n")
    client.until(lambda: not client.link.queued(program.stream))
    client.pump(0.0)
    client.cut()
    client.attach()
    assert program.wait()["code"] == 3
    client.flush()
    assert program.out() == b"got it\n"


def test_a_second_connection_replaces_the_first(shared: Machine) -> None:
    """A client that reconnects before the agent noticed the cut is let in; the old pipe closes."""
    client = shared.client(takeover=True)
    old = client._process
    client._process = None
    assert client.attach()["fresh"] is False
    assert old is not None and old.stdout is not None and old.stdin is not None
    assert old.wait(10) == 0
    old.stdin.close()
    old.stdout.close()
    assert client.request({"t": "files", "entries": [], "root": "/", "real_root": False})["ok"]


def test_a_machine_in_use_refuses_others(shared: Machine) -> None:
    """Without takeover a second client is refused in words, and the first goes on unharmed."""
    first = shared.client(takeover=True)
    running = first.ready("kinds.add")
    answer = Client(shared).attach()
    assert answer["error"] == "refused"
    assert answer["detail"] == "in use by another client"
    assert running.call(1, 1) == 2


def test_a_takeover_ends_what_the_other_ran(shared: Machine) -> None:
    """A client that takes over gets a clean machine; the other is told that all is lost."""
    first = shared.client(takeover=True)
    running = first.ready("kinds.pid")
    second = shared.client(takeover=True)
    until(lambda: not alive(running.pid), 10)
    first.gone()
    answer = first.attach(takeover=False)
    assert answer["error"] == "refused"
    assert second.ready("kinds.add").call(4, 5) == 9


def test_a_machine_that_nobody_is_connected_to_is_free(shared: Machine) -> None:
    """After its client vanished a machine takes the next one."""
    first = shared.client(takeover=True)
    first.cut()
    until(lambda: "error" not in Client(shared).attach(), 10)


def test_a_session_that_is_unknown_is_not_resumed(shared: Machine) -> None:
    """A client that had received something is told that the agent lost it, and disturbs nobody."""
    answer = Client(shared).attach(received=5, takeover=True)
    assert answer["error"] == "refused"
    assert answer["detail"].startswith("lost")


@pytest.mark.parametrize("received", [-1, 77, 2**60])
def test_an_impossible_resume_is_refused(shared: Machine, received: int) -> None:
    """A count that cannot be is refused in words and leaves the session as it was."""
    client = shared.client(takeover=True)
    running = client.ready("kinds.add")
    answer = Client(shared, session=client.hello["session"]).attach(received=received)
    assert answer["error"] == "refused"
    assert answer["detail"].startswith("lost")
    assert running.call(1, 2) == 3


def test_another_protocol_is_refused(shared: Machine) -> None:
    """A client that speaks another version is told both versions."""
    answer = Client(shared).attach(v=99)
    assert answer["error"] == "refused"
    assert "99" in answer["detail"] and str(VERSION) in answer["detail"]


TAKEOVER = b'{"v": 1, "session": "x", "received": 0, "takeover": true, "end": [], "ttl": %b}\n'
HELLOS = {
    "not JSON": b"GET / HTTP/1.1\n",
    "not an object": b"[]\n",
    "a number": b"7\n",
    "empty": b"{}\n",
    "no end": b'{"v": 1, "session": "x", "received": 0, "ttl": 5}\n',
    "lease that is none": TAKEOVER % b"NaN",
    "lease for ever": TAKEOVER % b"1e300",
    "lease of words": TAKEOVER % b'"long"',
    "nested": b"[" * 60_000 + b"\n",
    "endless": b"x" * 70_000,
    "not UTF-8": b"\xff\xfe\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", HELLOS)
def test_a_bad_hello_harms_nobody(shared: Machine, name: str) -> None:
    """A client that greets wrongly is dropped; the agent and its session go on."""
    client = shared.client(takeover=True)
    running = client.ready("kinds.add")
    channel = shared.channel()
    assert channel.stdin is not None and channel.stdout is not None
    channel.stdin.write(shared.bundle.stdin + HELLOS[name])
    if not HELLOS[name]:
        channel.stdin.close()
    assert channel.stdout.read() == b""
    channel.stdin.close()
    channel.stdout.close()
    assert channel.wait(10) == 0
    assert running.call(1, 2) == 3
    assert 0 < shared.lease() <= 60


def test_garbage_after_the_hello_costs_only_the_connection(shared: Machine) -> None:
    """Bytes that are no frames end the connection; the session can be resumed."""
    client = shared.client(takeover=True)
    running = client.ready("kinds.add")
    client._out += b"\0" * 100
    client.gone()
    assert client.attach()["fresh"] is False
    assert running.call(2, 2) == 4


def test_garbage_inside_a_stream_ends_the_session(shared: Machine) -> None:
    """Frames that hold no message cannot be mended by reconnecting: the client is told so."""
    client = shared.client(takeover=True)
    running = client.ready("kinds.pid")
    client.link.send(CONTROL, b"\xff" * 100)
    client.gone()
    until(lambda: not alive(running.pid), 10)
    assert client.attach()["detail"].startswith("lost")


def test_a_bad_request_is_answered(client: Client) -> None:
    """What the agent does not understand is refused in words and harms nothing."""
    running = client.ready("kinds.add")
    assert "unknown request 'dance'" in client.request({"t": "dance"})["error"]
    assert not client.request({"t": "files", "entries": 5, "root": "/", "real_root": 0})["ok"]
    assert not client.request({"t": "files"})["ok"]
    assert not client.request({"t": "blobs", "parts": [["zz", True]]}, b"")["ok"]
    assert not client.request({"t": "env", "plan": {}, "cache": "/nowhere", "uv": ""})["ok"]
    assert not client.request({"t": "env"})["ok"]
    assert not client.request({"t": "lease", "ttl": -1})["ok"]
    for stream in (0, 1, -5, 2**32, "x", None):
        assert not client.request({"t": "fetch", "c": stream, "root": "/", "patterns": []})["ok"]
        assert not client.request({"t": "start", "c": stream, "kind": "command"})["ok"]
    assert running.call(1, 2) == 3


def test_a_reply_never_reaches_another_session(shared: Machine) -> None:
    """A build that ends after its client has gone is not reported to the next one."""
    first = shared.client(takeover=True)
    fifo = shared.home / "wait"
    os.mkfifo(fifo)
    uv = shared.home / "uv"
    uv.write_text(f"#!/bin/sh\nread x < {fifo}\nexit 1\n")
    uv.chmod(0o755)
    plan = {"digest": "a" * 64, "python": "3.11", "steps": []}
    first.ask({"t": "env", "plan": plan, "cache": str(shared.home / "cache"), "uv": str(uv)})
    first.until(lambda: processes_with(str(uv)), "the build to run")
    second = shared.client(takeover=True)
    number = second.ask({"t": "env", "plan": {}, "cache": "/nowhere", "uv": ""})
    fifo.write_text("go\n")
    second.until(lambda: number in second.replies, "the reply")
    assert "malformed" in second.replies[number]["error"]
    until(lambda: not processes_with(str(uv)), 10)
    assert second.request({"t": "nothing"})["ok"] is False
    assert second.build_log == b""


# --- versions ---------------------------------------------------------------------------------


def test_another_version_waits_while_the_machine_is_in_use(fresh: Machine) -> None:
    """A client with another bundle is told that the machine is busy; the session goes on."""
    client = fresh.client()
    running = client.ready("kinds.add")
    answer = Client(fresh).attach(other(fresh.bundle), takeover=True)
    assert answer["error"] == "busy"
    assert running.call(1, 2) == 3


def test_another_version_replaces_an_idle_agent(fresh: Machine) -> None:
    """Once released, an agent makes room for another version's."""
    client = fresh.client()
    client.ready("kinds.add")
    old = fresh.agent
    client.ask({"t": "release", "idle": 30})
    client.gone()
    answer = Client(fresh).attach(other(fresh.bundle))
    assert "error" not in answer
    assert fresh.agent != old
    until(lambda: not alive(old), 10)


# --- the lease and the end --------------------------------------------------------------------


def test_the_lease_file_follows_the_client(shared: Machine) -> None:
    """The deadline that the dead-man reads is set by the greeting and by each renewal."""
    client = shared.client(takeover=True, ttl=33.0)
    assert 30 < shared.lease() <= 33
    client.send({"t": "lease", "ttl": 500})
    client.until(lambda: 495 < shared.lease() <= 500, "the longer lease")


def test_the_lease_is_where_the_dead_man_looks(fresh: Machine) -> None:
    """Where the login's HOME is not the machine's own home, the lease is in the latter all the
    same; a home that cannot be written to leaves it where it is."""
    home = fresh.home / "root"
    client = fresh.client(home=str(home), ttl=77.0)
    left = float((home / ".byoc/lease").read_text()) - time.monotonic()
    assert 70 < left <= 77 and not (fresh.home / ".byoc/lease").exists()
    client.cut()
    (fresh.home / "file").touch()
    fresh.client(takeover=True, home=str(fresh.home / "file/nowhere"), ttl=78.0)
    left = float((home / ".byoc/lease").read_text()) - time.monotonic()
    assert 77 < left <= 78
    assert "the lease cannot be where the dead-man looks" in fresh.log


@pytest.mark.parametrize("how", ["lease", "end"])
def test_the_end_command_runs_once(fresh: Machine, how: str) -> None:
    """When the lease runs out, or on request, containers are killed and the machine is ended."""
    mark = fresh.home / "ended"
    client = fresh.client(end=["sh", "-c", f"echo end >> {mark}"])
    running = client.ready("kinds.pid")
    if how == "lease":
        client.send({"t": "lease", "ttl": 0.3})
    else:
        assert client.request({"t": "end"})["ok"]
    assert running.wait()["reason"] == "ended"
    until(mark.exists, 10)
    assert fresh.lease() <= 0
    assert Client(fresh).attach(takeover=True)["detail"] == "the instance is ending"
    client.send({"t": "lease", "ttl": 100})
    client.flush()
    assert fresh.lease() <= 0
    assert _cpu(fresh.agent) < 50, "it does not spin while the machine goes down"
    assert mark.read_text() == "end\n"


def _cpu(pid: int) -> float:
    """How much of a core, in percent, a process takes over a moment."""

    def used() -> int:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    begun, before = time.monotonic(), used()
    until(lambda: time.monotonic() - begun > 0.5)
    spent = (used() - before) / os.sysconf("SC_CLK_TCK")
    return 100 * spent / (time.monotonic() - begun)


def test_a_lease_ends_without_any_client(fresh: Machine) -> None:
    """A client that vanished costs no more than the lease."""
    mark = fresh.home / "ended"
    client = fresh.client(end=["touch", str(mark)], ttl=0.5)
    running = client.ready("kinds.pid")
    client.cut()
    until(mark.exists, 10)
    until(lambda: not alive(running.pid), 10)


def test_an_end_command_that_cannot_run_is_noted(fresh: Machine) -> None:
    """The lease is void then, so that the dead-man ends the machine."""
    client = fresh.client(end=["/no/such/program"])
    assert client.request({"t": "end"})["ok"]
    until(lambda: "cannot run" in fresh.log, 10)
    assert fresh.lease() <= 0


def test_release_ends_containers_and_starts_the_idle_clock(fresh: Machine) -> None:
    """A released machine keeps its agent and zygotes, loses its containers and lives for idle."""
    client = fresh.client()
    running = client.ready("kinds.pid")
    running.call()
    number = client.ask({"t": "release", "idle": 7})
    client.gone()
    assert client.replies[number]["ok"]
    assert 5 < fresh.lease() <= 7
    until(lambda: not alive(running.pid), 10)
    pid = fresh.agent
    again = fresh.client()
    assert fresh.agent == pid
    assert again.ready("kinds.add").call(1, 1) == 2


def test_the_lease_is_kept_when_the_folder_cannot_be_written(fresh: Machine) -> None:
    """Where no new file can be made, as on a full disk, the deadline is written over the old."""
    client = fresh.client(ttl=20.0)
    blocked = fresh.home / ".byoc/lease.new"
    blocked.mkdir()
    client.send({"t": "lease", "ttl": 800})
    client.until(lambda: fresh.lease() > 700, "the longer lease")
    assert "written over" in fresh.log
    client.cut()
    assert "error" not in client.attach(ttl=30.0)
    assert 25 < fresh.lease() < 31


# --- when the agent dies ----------------------------------------------------------------------


def test_containers_die_with_the_agent(fresh: Machine) -> None:
    """An agent killed outright takes functions, programs and zygotes along; the next is fresh."""
    client = fresh.client()
    running = client.ready("hostile.spin")
    running.put(())
    program = client.command("sh", "-c", "echo $$; exec sleep 1000")
    client.until(program.out, "the program to run")
    pids = [running.pid, int(program.out())]
    os.kill(fresh.agent, signal.SIGKILL)
    client.gone()
    until(lambda: not any(alive(pid) for pid in pids), 10, f"{pids} to end")
    assert program.word is None
    answer = client.attach()
    assert answer["error"] == "refused"
    assert answer["detail"].startswith("lost")


def test_a_stale_socket_is_no_obstacle(fresh: Machine) -> None:
    """A socket file that a killed agent left behind is replaced."""
    client = fresh.client()
    os.kill(fresh.agent, signal.SIGKILL)
    client.gone()
    assert (fresh.home / ".byoc/agent.sock").exists()
    assert fresh.client().ready("kinds.add").call(1, 1) == 2


def test_a_bundle_that_is_cut_off_starts_nothing(fresh: Machine) -> None:
    """A client that vanishes while it sends the bundle leaves no agent."""
    channel = fresh.channel()
    assert channel.stdin is not None and channel.stdout is not None
    channel.stdin.write(fresh.bundle.stdin[:-1000])
    channel.stdin.close()
    assert channel.wait(10) != 0
    channel.stdout.close()
    assert "cut off" in (fresh.home / "boot.err").read_text()
    assert fresh.log == ""


# --- slow readers -----------------------------------------------------------------------------


def test_a_flood_of_output_waits_for_a_slow_reader(fresh: Machine) -> None:
    """print() stands still while nobody reads, memory stays bounded, and nothing is lost."""
    client = fresh.client()
    client.slow.add(LOGS)
    total = 40 * MB
    part = "bytes(range(256)) * 256"
    script = f"import os\nfor i in range({total // 65536}): os.write(1, {part})"
    program = client.command("python3", "-c", script)
    client.until(lambda: len(program.out()) > 3 * MB, "the flood")
    before = fresh.rss()
    for _ in range(20):
        client.pump(0.05)
    stalled = len(program.out())
    assert stalled < 6 * MB
    assert program.word is None
    assert fresh.rss() - before < 30 * MB
    client.use(LOGS)
    assert program.wait()["code"] == 0
    client.flush()
    assert program.out() == bytes(range(256)) * (total // 256)


def test_a_flood_does_not_hold_up_results(fresh: Machine) -> None:
    """Containers answer while another's output is not read at all."""
    client = fresh.client()
    running = client.ready("kinds.add")
    client.slow.add(LOGS)
    program = client.command("yes")
    client.until(lambda: len(program.out()) > 2 * MB, "the flood")
    assert running.call(1, 2) == 3
    number = client.ask({"t": "flush"})
    assert running.call(3, 4) == 7
    program.kill()
    client.use(LOGS)
    client.until(lambda: number in client.flushed, "the flush")
    assert program.wait()["reason"] == "stopped"
    assert fresh.rss() < 120 * MB


def test_a_client_that_does_not_read_at_all(fresh: Machine) -> None:
    """With the pipe itself full the agent keeps what is due and nothing more."""
    client = fresh.client()
    program = client.command("sh", "-c", "head -c 30000000 /dev/zero; echo done >&2")
    client.until(lambda: client.link.received_seq > 0)
    channel = client._process
    assert channel is not None
    until(lambda: _sleeps(fresh.agent), 10, "the agent to wait")
    assert fresh.rss() < 120 * MB
    assert program.wait()["code"] == 0
    client.flush()
    assert program.out() == bytes(30_000_000)
    assert program.out(2) == b"done\n"


def _sleeps(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def test_the_session_survives_a_message_in_pieces(client: Client) -> None:
    """A request split into single bytes and cut in the middle is still one request."""
    parts = messages.encode({"t": "nothing", "req": 900}, [b"x" * 50])
    for part in parts:
        for place in range(len(part)):
            client.link.send(CONTROL, bytes(memoryview(part)[place : place + 1]))
            if place == 20:
                client.pump(0)
                client.cut()
                client.attach()
    client.until(lambda: 900 in client.replies, "the reply")
    assert client.replies[900]["ok"] is False
