"""Boot data: what is said to a machine before anybody can log in to it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import BadRequestError
from byoc.providers import bootdata
from byoc.providers.base import HostKey
from tests.helpers import until
from tests.providers.bootdata import END, END_SCRIPTS, DeadMan, document, request


@pytest.fixture
def deadman(tmp_path: Path) -> Iterator[DeadMan]:
    """A dead-man that can do no harm; started by the test."""
    made = DeadMan(tmp_path)
    yield made
    made.stop()


def test_first_act_is_the_dead_man() -> None:
    """The first thing that a machine does is to get its end and the timer that calls it."""
    found = document(bootdata.compose(request(), END))
    assert next(iter(found)) == "bootcmd"
    (act,) = found["bootcmd"]
    order = [act.index(text) for text in ("byoc-end", "byoc-deadman", "systemd-run")]
    assert order == sorted(order)
    assert not any(word in act for word in ("curl", "wget", "http"))


def test_same_request_same_document() -> None:
    """Boot data is the same for the same request: a launch may be repeated under its token."""
    one = request()
    assert bootdata.compose(one, END) == bootdata.compose(one, END)


def test_small() -> None:
    """Boot data stays under 4 KiB without the end script, which the smallest cloud limits allow."""
    assert len(bootdata.compose(request(), END).encode()) - len(END) < 4096


@pytest.mark.parametrize("cloud", END_SCRIPTS)
def test_every_clouds(cloud: str) -> None:
    """Every cloud's end script is sound shell, and its boot data has room to spare everywhere."""
    script = END_SCRIPTS[cloud]
    assert len(bootdata.compose(request(), script).encode()) < 8192
    done = subprocess.run(["sh", "-n"], input=script.encode(), capture_output=True, check=True)
    assert done.stderr == b""


def test_keys_and_server() -> None:
    """The host key is the injected one, root's key has no forced command, passwords are off."""
    one = request()
    found = document(bootdata.compose(one, END))
    assert found["ssh_keys"] == {
        "ed25519_private": one.host_key.private,
        "ed25519_public": one.host_key.public,
    }
    assert found["ssh_authorized_keys"] == [one.authorized_key]
    assert (found["disable_root"], found["ssh_pwauth"]) == (False, False)
    assert "MaxSessions 64" in found["write_files"][0]["content"]


@pytest.mark.parametrize(
    "changes",
    [
        {"authorized_key": "ssh-ed25519 AAAA a\nssh-ed25519 BBBB another"},
        {"authorized_key": ""},
        {"authorized_key": "ssh-ed25519 AAAA caf\N{LATIN SMALL LETTER E WITH ACUTE}"},
        {"host_key": HostKey("-----BEGIN\0", "ssh-ed25519 AAAA")},
        {"boot_lease": 0.0},
        {"boot_lease": float("nan")},
    ],
)
def test_refused(changes: dict[str, object]) -> None:
    """What cannot be told to a machine is refused before anything is launched."""
    with pytest.raises(BadRequestError):
        bootdata.compose(request(**changes), END)


def test_end_script_needs_an_interpreter() -> None:
    """An end script that could not be run is refused."""
    with pytest.raises(BadRequestError):
        bootdata.compose(request(), "shutdown -h now\n")


@given(st.text(st.sampled_from("BYOC_'\"\\$`\n \tx"), max_size=80))
def test_end_script_arrives_whole(tail: str) -> None:
    """Whatever an end script holds, the machine gets exactly that."""
    script = "#!/bin/sh\n" + tail
    (act,) = document(bootdata.compose(request(), script))["bootcmd"]
    piece = act[act.index("cat >") : act.index("chmod")]
    shown = piece.replace(f"cat >{bootdata.END_COMMAND}.new", "cat")
    done = subprocess.run(["sh", "-c", shown], capture_output=True, check=True, text=True)
    assert done.stdout == script.rstrip("\n") + "\n"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_lease_passes(deadman: DeadMan, shell: str) -> None:
    """Without an agent the boot lease ends the machine, and not before it has passed."""
    deadman.start(shell)
    deadman.set_uptime(1300.9)
    assert deadman.settled() == []
    deadman.set_uptime(1301.0)
    until(lambda: deadman.called)
    assert deadman.called[0] == "byoc-end "


def test_extended_lease_holds(deadman: DeadMan) -> None:
    """A lease that the agent has extended keeps the machine, and its own end ends it."""
    deadman.start()
    deadman.lease.write_text("5000.125".ljust(31) + "\n")
    until(lambda: deadman.known.read_text() == "5000\n")
    deadman.set_uptime(4999)
    assert deadman.settled() == []
    deadman.set_uptime(5001)
    until(lambda: deadman.called)


def test_shortened_lease(deadman: DeadMan) -> None:
    """A lease that the agent voids ends the machine at once."""
    deadman.start()
    deadman.lease.write_text("999.000".ljust(31) + "\n")
    until(lambda: deadman.called)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"99",  # torn
        b"99.1",
        b"nan\n",
        b"-5.0\n",
        b"1e3\n",
        b"1.2.3\n",
        b"12 34\n",
        b"99999999999999999999.0\n",
        b"700000.000\n",  # more than 7 days away
        b"\xff\xfe\x00\x01\n",
        b"\x00" * 32,
        b"$(touch /tmp/x)\n",
        b"*\n",
    ],
)
def test_garbage_is_no_lease(deadman: DeadMan, garbage: bytes) -> None:
    """A lease file that is torn or nonsense changes nothing: what was known stays in force."""
    deadman.start()
    deadman.lease.write_bytes(garbage)
    deadman.set_uptime(1299)
    assert deadman.settled() == []
    assert deadman.known.read_text() == "1300\n"
    deadman.set_uptime(1302)
    until(lambda: deadman.called)


def test_started_anew(deadman: DeadMan) -> None:
    """A dead-man that was started again still knows the lease, also when the file is torn now."""
    deadman.start()
    deadman.lease.write_text("5000.125".ljust(31) + "\n")
    until(lambda: deadman.known.read_text() == "5000\n")
    deadman.stop()
    deadman.lease.write_bytes(b"")
    deadman.set_uptime(4000)
    deadman.start()
    assert deadman.settled() == []


@pytest.mark.parametrize("absent", [True, False])
def test_end_that_fails(deadman: DeadMan, absent: bool) -> None:
    """When the machine's own end fails or is gone, it is switched off, as often as it takes."""
    if absent:
        (deadman.shims / "byoc-end").unlink()
    else:
        deadman.program("byoc-end", 1)
    deadman.set_uptime(1302)
    deadman.start()
    until(lambda: deadman.called.count("poweroff -f") == 2)
    tries = [] if absent else ["byoc-end "] * 3
    once = [*tries, "shutdown -h now", "poweroff -f"]
    assert deadman.called[: 2 * len(once)] == once * 2


def test_kernel_key(deadman: DeadMan) -> None:
    """Only a whole machine is switched off by the kernel's key, never the host of a namespace."""
    deadman.set_uptime(1302)
    deadman.start()
    until(lambda: deadman.called.count("poweroff -f") == 2)
    whole = "4026531836" in Path("/proc/self/ns/pid").readlink().as_posix()
    assert deadman.sysrq.exists() == whole
