"""Boot data under real cloud-init: its schema, and what becomes of a machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc.providers import bootdata
from byoc.providers.base import HostKey
from tests.helpers import until
from tests.providers.bootdata import END_SCRIPTS, request
from tests.providers.cloudmachine import CloudMachine
from tools import cloud_init

VERSIONS = {0: "the distribution's", 1: "the newer"}
MARK = "#!/bin/sh\ntouch /run/ended\n"
"""An end script that only says that it was run."""


@pytest.fixture(params=VERSIONS, ids=["own", "newer"])
def version(request: pytest.FixtureRequest) -> cloud_init.CloudInit:
    """Each version of cloud-init that is here."""
    found = cloud_init.found()
    if len(found) <= request.param:
        pytest.skip(f"{VERSIONS[request.param]} cloud-init is not here: tools/cloud_init.py")
    return found[request.param]


def check(version: cloud_init.CloudInit, folder: Path, text: str) -> None:
    """The real ``cloud-init schema`` finds nothing wrong, not even something deprecated."""
    path = folder / "user-data"
    path.write_text(text)
    argv = version.command("schema", "--config-file", str(path))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "Valid" in said and "deprecat" not in said.lower(), said


@pytest.mark.parametrize("cloud", END_SCRIPTS)
def test_schema(version: cloud_init.CloudInit, tmp_path: Path, cloud: str) -> None:
    """Every cloud's boot data is valid for cloud-init's own schema."""
    check(version, tmp_path, bootdata.compose(request(), END_SCRIPTS[cloud]))


_LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60)
_LINES = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n"), max_size=90)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(key=_LINE.filter(str.strip), script=_LINES, lease=st.floats(1, 1e6))
def test_schema_of_any(
    tmp_path_factory: pytest.TempPathFactory, key: str, script: str, lease: float
) -> None:
    """Whatever keys and end scripts hold, boot data is valid for cloud-init's own schema."""
    found = cloud_init.found()
    if not found:
        pytest.skip("cloud-init is not here: tools/cloud_init.py")
    made = request(lease, authorized_key=key, host_key=HostKey(key, key))
    check(
        found[-1], tmp_path_factory.mktemp("schema"), bootdata.compose(made, "#!/bin/sh\n" + script)
    )


Boot = Callable[[str], CloudMachine]


@pytest.fixture
def boot(version: cloud_init.CloudInit, tmp_path: Path) -> Iterator[Boot]:
    """Boots a machine with boot data."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs root, unshare and ip")
    made: list[CloudMachine] = []

    def start(text: str) -> CloudMachine:
        made.append(CloudMachine(tmp_path, version, text))
        made[0].boot()
        return made[0]

    yield start
    for machine in made:
        machine.close()


def _ended(machine: CloudMachine) -> bool:
    return machine.run("[ -e /run/ended ]")[0] == 0


@pytest.mark.slow
def test_booted(boot: Boot) -> None:
    """After the boot the pinned host key and root's key are in place, the dead-man runs, a lease
    that was extended holds, and one that is void ends the machine by its own end script."""
    wanted = request(3600)
    machine = boot(bootdata.compose(wanted, MARK))
    host = machine.ask("cat /etc/ssh/ssh_host_ed25519_key")
    assert host == wanted.host_key.private
    assert machine.ask("cat /etc/ssh/ssh_host_ed25519_key.pub").strip() == wanted.host_key.public
    assert machine.ask("cat /root/.ssh/authorized_keys").strip() == wanted.authorized_key
    assert machine.ask("stat -c %a /usr/local/sbin/byoc-end").strip() == "700"
    if shutil.which("sshd", path="/usr/sbin"):
        machine.ask("mkdir -p /run/sshd")
        server = machine.ask("/usr/sbin/sshd -T").lower()
        for line in ("maxsessions 64", "allowstreamlocalforwarding yes"):
            assert line in server
        assert "permitrootlogin without-password" in server
    assert "byoc-deadman" in machine.ask("pgrep -fa byoc-deadman")
    _lease(machine, 7200)
    assert not _ended(machine)
    _lease(machine, -1, seen=False)
    until(lambda: _ended(machine))


def _lease(machine: CloudMachine, seconds: int, seen: bool = True) -> None:
    """Write a lease as the agent does, and wait until the dead-man knows it."""
    uptime = float(machine.ask("cat /proc/uptime").split()[0])
    deadline = uptime + seconds
    lease = "/root/.byoc/lease"
    machine.ask(f"printf '%-31s\\n' {deadline:.3f} >{lease}.new && mv {lease}.new {lease}")
    if seen:
        until(lambda: machine.ask("cat /run/byoc-deadline").strip() == str(int(deadline)))


@pytest.mark.slow
def test_boot_lease(boot: Boot) -> None:
    """A machine that no agent ever reaches ends itself."""
    machine = boot(bootdata.compose(request(1), MARK))
    until(lambda: _ended(machine))


@pytest.mark.slow
def test_reboot(boot: Boot) -> None:
    """After a reboot the dead-man is armed anew, and the lease of the earlier boot is void."""
    machine = boot(bootdata.compose(request(3600), MARK))
    _lease(machine, 100000)
    machine.reboot()
    assert machine.run("[ -e /root/.byoc/lease ]")[0] != 0
    assert "byoc-deadman" in machine.ask("pgrep -fa byoc-deadman")
    uptime = float(machine.ask("cat /proc/uptime").split()[0])
    assert int(machine.ask("cat /run/byoc-deadline")) < uptime + 3600
