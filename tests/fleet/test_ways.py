"""By what way machines are reached, and what is said when a part of it is missing."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from byoc.cli.commands.check import _way
from byoc.errors import HostKeyError, PlacementError, SettingsError, TransientError
from byoc.fleet.dial import SshDialer
from byoc.fleet.ways import Way, Ways
from byoc.providers.base import LaunchRequest
from byoc.providers.gates import INSIDE_TAG
from byoc.resources import Resources
from byoc.settings import load
from byoc.transport import keys
from byoc.transport.jump import Jump
from tests.fleet.world import World

KEY = keys.new_host_key().public
SMALL = Resources(cpu=1, memory=512)


def ways(home: Path, environ: Mapping[str, str], known: str = "") -> Ways:
    file = home / "known_hosts"
    file.write_text(known)
    settings = load(home, {"BYOC_HOME": str(home), **environ})
    return Ways(settings, (file, home / "absent"))


WHOLE = {
    "BYOC_PUBLIC_ADDRESS": "false",
    "BYOC_JUMP": "me@jump.example.org:2200",
    "BYOC_JUMP_KEY": KEY + " comment",
    "BYOC_INGRESS": "10.0.0.5/32",
}


def test_nothing_set_is_the_straight_way(tmp_path: Path) -> None:
    """Without settings machines have public addresses and are met there; so is this computer,
    whatever is set."""
    assert ways(tmp_path, {})("aws") == Way(True, None)
    assert ways(tmp_path, {"BYOC_PUBLIC_ADDRESS": "no"})("local") == Way(True, None)


def test_a_whole_way(tmp_path: Path) -> None:
    """Jump host, key and network make a way; the key's comment is nobody's."""
    jump = Jump("me", "jump.example.org", 2200, KEY)
    assert ways(tmp_path, WHOLE)("gcp") == Way(False, jump)
    assert str(jump) == "me@jump.example.org:2200"


def test_each_cloud_may_have_its_own(tmp_path: Path) -> None:
    """What a cloud's own table says counts for it, and for no other."""
    own = {f"BYOC_AWS_{key.removeprefix('BYOC_')}": value for key, value in WHOLE.items()}
    made = ways(tmp_path, own)
    assert made("gcp") == Way()
    assert made("aws").jump is not None and not made("aws").public
    (tmp_path / "byoc.toml").write_text(
        f'jump = "a@one"\njump_key = "{KEY}"\ningress = ["10.0.0.5/32"]\n'
        f'[aws]\njump = "b@two"\ningress = ["10.9.0.5/32"]\npublic_address = false\n'
    )
    made = ways(tmp_path, {})
    assert made("gcp") == Way(True, Jump("a", "one", 22, KEY))
    assert made("aws") == Way(False, Jump("b", "two", 22, KEY))


@pytest.mark.parametrize(
    ("missing", "said"),
    [("BYOC_JUMP", "jump"), ("BYOC_INGRESS", "ingress"), ("BYOC_JUMP_KEY", "jump_key")],
)
def test_what_is_missing_is_said(tmp_path: Path, missing: str, said: str) -> None:
    """Each part that is not set is named, with what to set."""
    environ = {key: value for key, value in WHOLE.items() if key != missing}
    with pytest.raises(SettingsError) as caught:
        ways(tmp_path, environ)("aws")
    assert any(said in hint for hint in caught.value.hints)


def test_a_known_jump_host_needs_no_key(tmp_path: Path) -> None:
    """The user's known_hosts knows the jump host, by one key; two keys are as good as none."""
    environ = {key: value for key, value in WHOLE.items() if key != "BYOC_JUMP_KEY"}
    line = f"[jump.example.org]:2200 {KEY}\n"
    jump = ways(tmp_path, environ, line)("aws").jump
    assert jump is not None and jump.host_key == KEY
    other = f"[jump.example.org]:2200 {keys.new_host_key().public}\n"
    with pytest.raises(SettingsError, match="several"):
        ways(tmp_path, environ, line + other)("aws")


def test_a_vpn_needs_no_jump_host(tmp_path: Path) -> None:
    """Whose computer is in the machines' network says so, and is met by private addresses."""
    assert ways(tmp_path, {**WHOLE, "BYOC_JUMP": "direct"})("oci") == Way(False, None)


@pytest.mark.parametrize("wrong", ["jump", "a@", "@b", "a@b:c", "a b@c", "-oX@b", "a@b:0", "a@$b"])
def test_a_jump_host_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    """A setting that cannot be one, or that a shell would read, names its form."""
    with pytest.raises(SettingsError, match=r"USER@HOST|port"):
        load(tmp_path, {"BYOC_HOME": str(tmp_path), "BYOC_JUMP": wrong})


# --- before money is spent ------------------------------------------------------------------


@pytest.mark.parametrize("error", [SettingsError("no"), HostKeyError("another machine")])
def test_nothing_is_launched_while_the_way_is_shut(world: World, error: Any) -> None:
    """A jump host that does not let us in is told before a cloud is asked for anything."""

    def ready(cloud: str) -> None:
        raise error

    world.dialer.ready = ready  # type: ignore[method-assign]
    with pytest.raises((type(error), PlacementError)):
        world.fleet().acquire(SMALL, "run-1")
    assert "launch" not in world.cloud.calls
    assert world.fleet().journal.intents() == []


def test_a_jump_host_that_does_not_answer_is_of_the_whole_cloud(world: World) -> None:
    """It stands before all offers of a cloud: it is asked for once, nothing is launched, and the
    error is what it is, with a next step."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    way = Way(False, Jump("me", "127.0.0.1", port, KEY))
    dialer = SshDialer(world.home, way_of=lambda cloud: way)
    asked: list[str] = []

    def ready(cloud: str) -> None:
        asked.append(cloud)
        dialer.ready(cloud)

    world.dialer.ready = ready  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="jump host me@127") as told:
        world.fleet().acquire(SMALL, "run-1")
    assert asked == ["sim"] and "launch" not in world.cloud.calls
    assert told.value.hints and told.value.scope == "cloud"


def test_a_missing_part_stops_the_launch(world: World) -> None:
    """The settings say no public address and no jump host: nothing is asked for."""
    world.settings = {"public_address": False}
    with pytest.raises(SettingsError, match="jump host"):
        world.fleet().acquire(SMALL, "run-1")
    assert "launch" not in world.cloud.calls


def test_a_launch_without_a_public_address_says_so(world: World) -> None:
    """The request has no public address and a tag by which everybody knows where it is met; who
    has no way there leaves it to others."""
    wanted = {"public_address": False, "jump": "direct", "ingress": ("10.0.0.0/8",)}
    world.settings = dict(wanted)
    held = world.fleet().acquire(SMALL, "run-1")
    request: LaunchRequest = world.cloud.requests[-1]
    assert not request.public and request.tags[INSIDE_TAG] == "1"
    held.release(600)
    world.settings = {}
    other = world.fleet().acquire(SMALL, "run-2")
    assert not other.warm
    other.end()
    world.settings = dict(wanted)
    assert world.fleet().acquire(SMALL, "run-3").warm


def test_check_tells_of_the_way(tmp_path: Path) -> None:
    """`byoc check` fails for a part that is missing, and says that packages need a NAT."""
    environ = {"BYOC_HOME": str(tmp_path), **WHOLE}
    found = _way("aws", load(tmp_path, {**environ, "BYOC_JUMP": "direct"}))
    assert [(one.level, one.subject) for one in found] == [("warn", "way out")]
    assert "NAT" in found[0].message
    del environ["BYOC_JUMP"]
    (failed,) = _way("aws", load(tmp_path, environ))
    assert failed.level == "fail" and "jump" in failed.remedy
    assert _way("local", load(tmp_path, environ)) == []
