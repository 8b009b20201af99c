"""Another machine answers in our machine's place: it learns nothing, and the run says so."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import f_work
import pytest

from byoc.errors import HostKeyError
from byoc.providers.local.machine import files
from byoc.transport import keys
from tests.faults.world import World
from tests.gate import Gate
from tests.relay import Relay
from tests.transport import sshd as daemon
from tests.transport.sshd import Sshd

IN_THE_CLEAR = {20, 30}
"""SSH_MSG_KEXINIT and the client's half of the key exchange: all that anybody may learn."""


@pytest.fixture
def impostor(world: World, tmp_path: Path) -> Iterator[Sshd]:
    """An sshd with a key of its own, which would let our client in."""
    if daemon.program() is None:
        pytest.skip("no sshd is installed on this host")
    public = keys.ensure_identity(world.home).public
    server = Sshd(tmp_path / "impostor", keys.new_host_key(), public)
    yield server
    server.stop()


def messages_in(sent: bytes) -> list[int]:
    """The kinds of messages of the latest connection in ``sent``, none of which is encrypted."""
    data = bytes(sent)
    version, _, rest = data[data.rindex(b"SSH-2.0-") :].partition(b"\r\n")
    assert version.startswith(b"SSH-2.0-"), version
    kinds = []
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        assert size <= len(rest) - 4 < 35000, "bytes that are no message in the clear"
        kinds.append(rest[5])
        rest = rest[4 + size :]
    return kinds


def redirect(world: World, instance: str, port: int) -> None:
    """Another server answers where the machine is recorded to be."""
    path = world.home / "local" / instance / "machine.json"
    record = files.read_json(str(path))
    assert record
    files.write_json(str(path), {**record, "address": "127.0.0.1", "port": port})


def kept(world: World, gate: Gate) -> str:
    """A warm machine from an earlier run; its id."""
    gate.open()
    with world.run(f_work.app, keep=True):
        assert f_work.at_gate.remote(gate.port, "first") == "first done"
    return world.ids()[0]


def test_impostor_at_a_warm_machine(world: World, gate: Gate, impostor: Sshd) -> None:
    """A warm machine whose address another one has taken is refused by name; nothing is sent."""
    machine = kept(world, gate)
    with closing(Relay((impostor.address, impostor.port), record=True)) as way:
        redirect(world, machine, way.address[1])
        with world.run(f_work.app), pytest.raises(HostKeyError):
            f_work.at_gate.remote(gate.port, "second")
        assert way.accepted == 1
        assert set(messages_in(way.sent)) == IN_THE_CLEAR
    assert gate.begun == ["first"]
    assert world.ids() == [machine]


def test_wrong_key_in_the_journal(world: World, gate: Gate) -> None:
    """A machine that proves another key than the journal pinned is not ours: nothing is sent."""
    machine = kept(world, gate)
    with closing(world.journal()) as journal:
        journal.update_instance("local", machine, host_key=keys.new_host_key().public)
    with world.run(f_work.app), pytest.raises(HostKeyError):
        f_work.at_gate.remote(gate.port, "second")
    assert set(messages_in(world.relay.sent)) == IN_THE_CLEAR
    assert gate.begun == ["first"]


def test_impostor_while_booting(world: World, gate: Gate, impostor: Sshd) -> None:
    """A new machine whose address another one answers at is given up and ended at once."""
    world.detour.target_of = lambda _: (impostor.address, impostor.port)
    with world.run(f_work.app), pytest.raises(HostKeyError):
        f_work.at_gate.remote(gate.port, "first")
    sent = [bytes(relay.sent) for relay in world.detour.relays]
    assert len(sent) == 1
    assert set(messages_in(sent[0])) == IN_THE_CLEAR
    assert (gate.begun, world.ids()) == ([], [])


def test_impostor_after_a_cut(world: World, gate: Gate, impostor: Sshd) -> None:
    """Another machine that answers after a cut learns nothing, and the call is told."""
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        world.relay.target = (impostor.address, impostor.port)
        world.relay.cut()
        with pytest.raises(HostKeyError):
            call.get(timeout=60)
        gate.open()
    assert gate.begun == ["a"]
    assert set(messages_in(world.relay.sent)) == IN_THE_CLEAR
    assert any("host key" in notice for notice in world.reporter.notices)
