"""Machines reach each other by their private addresses where their account's rules say so."""

from __future__ import annotations

import os
import shlex
import threading

import pytest

from byoc.emulator.machine.guest.kernel import TUN, net_of
from tests.emulator.conftest import MakeWorld
from tests.emulator.machines import Booted, boot, real_machines
from tests.helpers import until

_SERVE = """
import socket
with socket.create_server(("172.31.0.1", 2500)) as door:
    peer, where = door.accept()
    with peer:
        data = b""
        while piece := peer.recv(65536):
            data += piece
        peer.sendall(b"%d %s" % (len(data), where[0].encode()))
"""
_CALL = """
import socket
with socket.create_connection(("172.31.0.1", 2500), 3) as peer:
    peer.sendall(b"x" * 3000000)
    peer.shutdown(socket.SHUT_WR)
    print(peer.recv(100).decode())
"""


class Rules:
    """An account whose only resource is who lets in whom."""

    cloud = "aws"

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str]] = set()

    def lets_in(self, source: str, target: str) -> bool:
        """See :class:`byoc.emulator.ports.Facade`."""
        return (source, target) in self.allowed

    def admits(self, source: str, target: str) -> bool:
        """See there."""
        return True


def python(machine: Booted, code: str) -> tuple[int, str]:
    """A program's exit code and output."""
    return machine.run(f"python3 -c {shlex.quote(code)}")


@real_machines
@pytest.mark.skipif(not os.path.exists(TUN), reason="this host has no TUN device")
def test_private_addresses_answer_whom_the_rules_let_in(make_world: MakeWorld) -> None:
    """A rule opens every port to a machine's private address and its answers come back; without it,
    and from another region, nothing arrives."""
    world, rules = make_world(), Rules()
    world.add(rules)  # type: ignore[arg-type]
    first = boot(world, id="i-1", inside="172.31.0.1")
    second = boot(world, id="i-2", inside="172.31.0.2")
    far = boot(world, id="i-3", inside="172.31.0.3", region="eu-west-1")
    until(lambda: all("up" in one.heard for one in (first, second, far)), 20)
    rules.allowed = {("i-3", "i-1")}
    got: list[tuple[int, str]] = []
    server = threading.Thread(target=lambda: got.append(python(first, _SERVE)))
    server.start()
    code, said = python(second, _CALL.replace(", 3)", ", 0.5)"))
    assert code != 0, said
    assert "TimeoutError" in said or "timed out" in said
    code, said = python(far, _CALL.replace(", 3)", ", 0.5)"))
    assert code != 0, said
    rules.allowed = {("i-2", "i-1")}
    until(lambda: python(second, _CALL) == (0, "3000000 172.31.0.2\n"), 20)
    server.join(10)
    assert got == [(0, "")]


def test_the_mask_is_that_of_the_private_net() -> None:
    """The three nets of RFC 1918."""
    assert [net_of(one) for one in ("10.1.2.3", "172.31.0.1", "192.168.1.1")] == [
        "255.0.0.0",
        "255.240.0.0",
        "255.255.0.0",
    ]
