"""Meeting a machine through a jump host: what it costs, how it fails, and who learns what."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import ConnectionLostError, HostKeyError, SettingsError, TransientError
from byoc.fleet.dial import SshDialer
from byoc.fleet.ports import Target, never
from byoc.fleet.ways import Way
from byoc.transport import jump, keys, knownhosts
from byoc.transport.jump import Jump
from byoc.transport.keys import Identity
from tests.helpers import until
from tests.relay import Relay
from tests.transport.sshd import USER, Sshd, free_port

StartSshd = Callable[..., Sshd]


@pytest.fixture(scope="module")
def jump_host(start_sshd: StartSshd) -> Sshd:
    """The user's own server."""
    return start_sshd()


@pytest.fixture
def home(identity: Identity) -> Path:
    """The data folder whose key both servers let in."""
    return identity.path.parents[1]


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def through(jump_host: Sshd, port: int = 0, **changes: str) -> Jump:
    return Jump(USER, "127.0.0.1", port or jump_host.port, jump_host.host_key.public, **changes)


def at(server: Sshd, port: int = 0, line: str = "") -> Target:
    return Target("127.0.0.1", port or server.port, USER, line or server.host_key.public, "sim")


Dial = Callable[[Jump], SshDialer]


@pytest.fixture
def dial(home: Path) -> Iterator[Dial]:
    """A dialer whose cloud is reached through a jump host."""
    with contextlib.ExitStack() as stack:

        def make(host: Jump) -> SshDialer:
            made = SshDialer(home, SYSTEM, lambda cloud: Way(False, host))
            stack.callback(made.close)
            return made

        yield make


def test_a_command_runs_behind_the_jump_host(dial: Dial, sshd: Sshd, jump_host: Sshd) -> None:
    """A knock and a connection through the jump host reach the machine; its command's result, and
    eight megabytes each way, come through unharmed."""
    dialer = dial(through(jump_host))
    door = dialer.knock(at(sshd), 10, never)
    assert door is not None
    data = os.urandom(8 << 20)
    with contextlib.closing(dialer.connect(at(sshd), 10, door)) as connection:
        assert connection.run("cat", data).out == data
    with contextlib.closing(dialer.connect(at(sshd), 10)) as connection:
        assert connection.run("echo again").out == b"again\n"


def test_the_round_trips_that_a_jump_host_costs(dial: Dial, sshd: Sshd, jump_host: Sshd) -> None:
    """Three round trips for the jump host once, before there is a machine; then a machine is
    reached in as many as without one."""
    one_way = 0.1

    def trips() -> list[float]:
        """Of the jump host, and of two machines' connections."""
        with contextlib.closing(Relay((jump_host.address, jump_host.port), delay=one_way)) as way:
            dialer = dial(through(jump_host, way.address[1]))
            seconds = []
            for step in (
                lambda: dialer.ready("sim"),
                lambda: dialer.connect(at(sshd), 10).close(),
                lambda: dialer.connect(at(sshd), 10).close(),
            ):
                begun = time.monotonic()
                step()
                seconds.append(time.monotonic() - begun)
            return [each / (2 * one_way) for each in seconds]

    # the least of some: a busy host only adds. The relay does not delay a TCP connect, so of the
    # jump host three round trips two are seen; a machine begins with the opening of a channel
    best = [min(each) for each in zip(*(trips() for _ in range(3)), strict=True)]
    assert 2.0 <= best[0] < 3.0, best
    assert all(3.0 <= each < 4.0 for each in best[1:]), best


def test_nobody_behind_the_jump_host(dial: Dial, jump_host: Sshd) -> None:
    """Nobody listening behind the jump host is a machine that is not there yet: no door, and a lost
    connection that says so."""
    dialer = dial(through(jump_host))
    nowhere = Target("127.0.0.1", free_port(), USER, keys.new_host_key().public, "sim")
    assert dialer.knock(nowhere, 5, never) is None
    with pytest.raises(ConnectionLostError, match=r"through .*refused"):
        dialer.connect(nowhere, 5)


def test_a_jump_host_that_forbids_it(dial: Dial, sshd: Sshd, start_sshd: StartSshd) -> None:
    """A jump host without forwarding is a wrong setting and is told at once: no boot is waited
    for."""
    strict = start_sshd(extra="AllowTcpForwarding no\n")
    dialer = dial(through(strict))
    dialer.ready("sim")
    for act in (lambda: dialer.knock(at(sshd), 5, never), lambda: dialer.connect(at(sshd), 5)):
        with pytest.raises(SettingsError, match="forbids") as caught:
            act()
        assert "AllowTcpForwarding" in caught.value.hints[0]


def test_a_jump_host_that_takes_none_of_our_keys(
    dial: Dial, start_sshd: StartSshd, tmp_path: Path
) -> None:
    """A jump host that does not let us in is told before anything is launched, with our key."""
    other = start_sshd(authorized=keys.new_host_key().public)
    with pytest.raises(SettingsError, match="accepts none") as caught:
        dial(through(other)).ready("sim")
    assert any("ssh-ed25519" in hint for hint in caught.value.hints)
    with pytest.raises(SettingsError, match="cannot be read"):
        dial(through(other, identity=str(tmp_path / "none"))).ready("sim")


def test_the_users_own_key_and_agent(
    dial: Dial, start_sshd: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key file of the user's, or one in the user's agent, is what the jump host sees."""
    file = tmp_path / "id_rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(file)], check=True)
    server = start_sshd(authorized=file.with_suffix(".pub").read_text().strip())
    dial(through(server, identity=str(file))).ready("sim")
    told = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
    pid = int(told.split("SSH_AGENT_PID=")[1].split(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", told.split("SSH_AUTH_SOCK=")[1].split(";")[0])
        subprocess.run(["ssh-add", "-q", str(file)], check=True)
        dial(through(server)).ready("sim")
    finally:
        os.kill(pid, 15)


def test_a_jump_host_that_does_not_answer_is_asked_once(dial: Dial, sshd: Sshd) -> None:
    """A jump host that is off fails once; the launches after it do not wait for it again."""
    dead = Jump(USER, "127.0.0.1", free_port(), sshd.host_key.public)
    dialer = dial(dead)
    for _ in range(3):
        with pytest.raises(TransientError, match="jump host"):
            dialer.ready("sim")
    assert dialer.knock(at(sshd), 5, never) is None


def test_a_cut_jump_connection_is_made_anew(dial: Dial, sshd: Sshd, jump_host: Sshd) -> None:
    """After the way to the jump host was cut, or has fallen silent, a machine is reached again over
    a new connection."""
    with contextlib.closing(Relay((jump_host.address, jump_host.port))) as way:
        dialer = dial(through(jump_host, way.address[1]))
        first = dialer.connect(at(sshd), 10)
        way.cut()
        until(lambda: not first.alive, 5, "the cut to be seen")
        with contextlib.closing(dialer.connect(at(sshd), 10)) as second:
            assert second.run("echo here").out == b"here\n"
        assert way.accepted == 2


def test_a_silent_jump_connection_is_made_anew(
    dial: Dial, sshd: Sshd, jump_host: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A way to the jump host that swallows everything, as after a laptop's sleep, is given up after
    a short wait, within the same attempt to connect."""
    monkeypatch.setattr(jump, "TRUST", 0.0)
    monkeypatch.setattr(jump, "SILENCE", 0.3)
    with contextlib.closing(Relay((jump_host.address, jump_host.port))) as way:
        dialer = dial(through(jump_host, way.address[1]))
        dialer.connect(at(sshd), 10)
        way.freeze()
        timer = threading.Timer(0.5, way.heal)
        timer.start()
        with contextlib.closing(dialer.connect(at(sshd), 10)) as second:
            assert second.run("echo here").out == b"here\n"
        timer.join()
        assert way.accepted == 2


# --- who is on the other side ---------------------------------------------------------------


def test_another_machine_in_the_jump_hosts_place(
    dial: Dial, sshd: Sshd, jump_host: Sshd, start_sshd: StartSshd
) -> None:
    """A machine that answers in the jump host's place learns a version and half a key exchange."""
    impostor = start_sshd()
    with contextlib.closing(Relay((impostor.address, impostor.port), record=True)) as way:
        dialer = dial(through(jump_host, way.address[1]))
        with pytest.raises(HostKeyError, match="jump host"):
            dialer.ready("sim")
        with pytest.raises(HostKeyError):
            dialer.connect(at(sshd), 5)
        assert set(messages_in(bytes(way.sent))) == IN_THE_CLEAR


def test_another_machine_behind_the_jump_host(
    dial: Dial, sshd: Sshd, jump_host: Sshd, start_sshd: StartSshd
) -> None:
    """A machine behind the jump host that has taken the address of ours learns nothing, though the
    jump host itself is the right one: the machine's key is checked here, end to end."""
    impostor = start_sshd()
    with contextlib.closing(Relay((impostor.address, impostor.port), record=True)) as way:
        dialer = dial(through(jump_host))
        target = at(sshd, way.address[1])
        door = dialer.knock(target, 5, never)
        with pytest.raises(HostKeyError):
            dialer.connect(target, 5, door)
        assert set(messages_in(bytes(way.sent))) == IN_THE_CLEAR


def test_an_address_that_another_machine_took_over_meanwhile(
    dial: Dial, sshd: Sshd, jump_host: Sshd, start_sshd: StartSshd
) -> None:
    """After a cut the address behind the jump host is another machine's: refused, as at first."""
    impostor = start_sshd()
    with contextlib.closing(Relay((sshd.address, sshd.port), record=True)) as way:
        dialer = dial(through(jump_host))
        target = at(sshd, way.address[1])
        first = dialer.connect(target, 5)
        way.target = (impostor.address, impostor.port)
        way.cut()
        until(lambda: not first.alive, 5, "the cut to be seen")
        with pytest.raises(HostKeyError):
            dialer.connect(target, 5)
        assert set(messages_in(bytes(way.sent))) == IN_THE_CLEAR


def test_a_jump_host_reads_nothing(dial: Dial, sshd: Sshd, jump_host: Sshd) -> None:
    """What the jump host passes on is the machine's own SSH: neither a command nor its output is
    in it."""
    with contextlib.closing(Relay((sshd.address, sshd.port), record=True)) as beyond:
        dialer = dial(through(jump_host))
        word = "a-word-that-nobody-reads"
        with contextlib.closing(dialer.connect(at(sshd, beyond.address[1]), 10)) as connection:
            assert connection.run(f"echo {word}").out.strip() == word.encode()
        assert beyond.sent.startswith(b"SSH-2.0-")
        assert word.encode() not in beyond.sent


# --- the jump host's key --------------------------------------------------------------------

KEY_A, KEY_B = (keys.new_host_key().public for _ in range(2))


def hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.digest(salt, name.encode(), hashlib.sha1)
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


@pytest.mark.parametrize(
    ("line", "host", "port", "found"),
    [
        (f"jump.example.org {KEY_A} me", "jump.example.org", 22, True),
        (f"a,Jump.example.org {KEY_A}", "JUMP.example.org", 22, True),
        (f"*.example.org,!b.example.org {KEY_A}", "a.example.org", 22, True),
        (f"*.example.org,!b.example.org {KEY_A}", "b.example.org", 22, False),
        (f"[jump]:2222 {KEY_A}", "jump", 2222, True),
        (f"jump {KEY_A}", "jump", 2222, False),
        (f"[jump]:2222 {KEY_A}", "jump", 22, False),
        (f"{hashed('jump')} {KEY_A}", "jump", 22, True),
        (f"{hashed('[jump]:2222')} {KEY_A}", "jump", 2222, True),
        (f"{hashed('other')} {KEY_A}", "jump", 22, False),
        (f"|1|nonsense {KEY_A}", "jump", 22, False),
        (f"@cert-authority * {KEY_A}", "jump", 22, False),
        (f"# jump {KEY_A}", "jump", 22, False),
        ("jump ssh-ed25519 AAAA", "jump", 22, False),
        ("jump ssh-rsa AAAAB3NzaC1yc2E", "jump", 22, False),
    ],
    ids=str.split(  # the keys are new each time, and names of tests must not be
        "commented any-case pattern not-excluded port no-port other-port hashed hashed-port "
        "hashed-other nonsense authority comment short rsa"
    ),
)
def test_known_hosts(line: str, host: str, port: int, found: bool) -> None:
    """Names in known_hosts are read as OpenSSH reads them, and no more is believed."""
    assert knownhosts.find([line], host, port) == ([KEY_A] if found else [])


def test_a_revoked_key_is_not_known() -> None:
    """A key that known_hosts revokes is not known, whatever other line names it; doubles count
    once."""
    lines = [f"jump {KEY_A}", f"jump {KEY_A} again", f"jump {KEY_B}", f"@revoked * {KEY_B}"]
    assert knownhosts.find(lines, "jump") == [KEY_A]


def messages_in(sent: bytes) -> list[int]:
    """The kinds of messages of the latest connection in ``sent``, none of which is encrypted."""
    _, _, rest = sent[sent.rindex(b"SSH-2.0-") :].partition(b"\r\n")
    kinds = []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        assert size <= len(rest) - 4 < 35000, "bytes that are no message in the clear"
        kinds.append(rest[5])
        rest = rest[4 + size :]
    return kinds


IN_THE_CLEAR = {20, 30}
"""SSH_MSG_KEXINIT and the client's half of the key exchange: all that anybody may learn."""
