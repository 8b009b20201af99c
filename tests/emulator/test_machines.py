"""Real machines: booted by their data, met by SSH, isolated, and gone without a trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from byoc.emulator.ports import Reply
from byoc.providers import bootdata
from byoc.providers.base import LaunchRequest
from byoc.resources import Offer
from tests.conftest import new_home
from tests.emulator.conftest import MakeWorld
from tests.emulator.machines import (
    CLIENT_KEY,
    HOST_KEY,
    boot,
    cloud_config,
    greets,
    real_machines,
    run,
    wait_up,
)
from tests.helpers import ROOT, alive, processes_with, until

pytestmark = [real_machines, pytest.mark.timeout(60)]

HERE = socket.gethostname()
OFFER = Offer("aws", "us-east-1", "us-east-1a", "g6.xlarge", "spot", 1.0, 4.0, 16384)


def test_boot_data_is_applied_in_cloud_inits_order(make_world: MakeWorld) -> None:
    """bootcmd, files, accounts, keys, SSH, and then runcmd; its output is on the console."""
    world = make_world()
    look = "echo {} $([ -e /etc/marker ] && echo file) $(id -u kim 2>&1 | grep -c '^[0-9]')"
    booted = boot(
        world,
        cloud_config(
            bootcmd=[look.format("first"), ["printf", "%s\\n", "two  words"]],
            write_files=[
                {"path": "/etc/marker", "content": "aGVsbG8=", "encoding": "b64"},
                {"path": "/srv/run", "content": "#!/bin/sh\n", "permissions": "0755"},
                {"path": "/etc/marker", "content": " there", "append": True},
                {"path": "/srv/late", "content": "x", "owner": "kim", "defer": True},
            ],
            hostname="thing",
            users=["default", {"name": "kim", "ssh_authorized_keys": [CLIENT_KEY.public]}],
            runcmd=[look.format("last"), "stat -c '%U' /srv/late"],
            sauce="curry",
        ),
    )
    wait_up(booted)
    until(lambda: "kim\n" in booted.said().replace("\r", ""), what="runcmd to run")
    said = [
        line for line in booted.said().splitlines() if line.split()[:1] in (["first"], ["last"])
    ]
    assert said == ["first 0", "last file 1"]
    assert "two  words" in booted.said() and "'sauce' is not emulated" in booted.said()
    code, text = booted.run("cat /etc/marker; stat -c %a /srv/run; hostname; cat /etc/hostname")
    assert code == 0 and text.split() == ["hello", "there755", "thing", "thing"]
    assert booted.run("id -un; echo ~", user="kim")[1].split() == ["kim", "/home/kim"]
    assert booted.run("id -un", user="ubuntu")[1].split() == ["ubuntu"]


def test_nobody_is_let_in_before_the_boot_data_is_applied(make_world: MakeWorld) -> None:
    """Who connects early waits, and finds everything in place."""
    world = make_world()
    booted = boot(world, cloud_config(bootcmd=["sleep 0.5; echo slept >/run/slept"]))
    until(lambda: booted.heard == ["up"])
    assert not greets(booted.address, 0.2)
    assert booted.run("cat /run/slept") == (0, "slept\n")


def test_byocs_own_boot_data_works(make_world: MakeWorld) -> None:
    """Pinned key, root login, the dead-man and the command that ends the machine."""
    world = make_world()
    request = LaunchRequest("ab" * 16, OFFER, {}, HOST_KEY, CLIENT_KEY.public, 300.0)
    text = bootdata.compose(request, "#!/bin/sh\nexec shutdown -h now\n")
    booted = boot(world, text)
    wait_up(booted)
    assert booted.run("ps ax | grep -c '[b]yoc-deadman'")[1] == "1\n"
    booted.run(bootdata.END_COMMAND)
    until(lambda: booted.heard == ["up", "shutdown"])


def test_scripts_and_archives_are_run(make_world: MakeWorld) -> None:
    """Boot data may be a script, or a MIME archive of a cloud-config and scripts."""
    world = make_world()
    config = cloud_config()
    text = (
        'Content-Type: multipart/mixed; boundary="=="\nMIME-Version: 1.0\n\n'
        f'--==\nContent-Type: text/cloud-config; charset="us-ascii"\n\n{config}\n'
        '--==\nContent-Type: text/x-shellscript; charset="us-ascii"\n\n'
        "#!/bin/sh\necho from the archive\n\n--==--\n"
    )
    both = boot(world, text), boot(world, "#!/bin/sh\necho plain >/dev/console\n", id="i-2")
    wait_up(*both)
    until(lambda: "from the archive" in both[0].said())
    until(lambda: "plain" in both[1].said())
    assert both[0].run("true")[0] == 0


def test_broken_boot_data_leaves_a_machine_that_nobody_can_enter(make_world: MakeWorld) -> None:
    """As on a cloud: it answers, refuses, and says on its console why."""
    world = make_world()
    booted = boot(world, "#cloud-config\nkey: [1,\n")
    wait_up(booted)
    assert "Failed loading yaml blob" in booted.said()
    with pytest.raises(AssertionError):
        booted.run("true")


def test_it_is_a_machine_of_its_own(make_world: MakeWorld, tmp_path: Path) -> None:
    """Own processes, hostname, files; root there; the host's files do not change."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    marker = f"/usr/local/byoc-test-{os.getpid()}"
    code, text = booted.run(f"id -u; hostname; ls /proc | grep -c '^[0-9]'; echo x >{marker}")
    user, host, count = text.split()
    assert (code, user, host) == (0, "0", "i-1") and int(count) < 12
    assert not Path(marker).exists() and socket.gethostname() == HERE
    assert booted.run(f"cat {marker}")[1] == "x\n"
    for probe in (f"ls {tmp_path}", f"ls {ROOT}", "which uv"):
        assert booted.run(probe)[0] != 0, probe


def test_it_cannot_reach_out_nor_be_reached_but_by_ssh(make_world: MakeWorld) -> None:
    """No route, no host services; only its own loopback and the metadata service's address."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = "import socket,sys;socket.create_connection((sys.argv[1],int(sys.argv[2])),2)"
        for address in ("127.0.0.1", "198.51.100.7", booted.address):
            code, text = booted.run(f"python3 -c '{script}' {address} {port}")
            assert code != 0 and ("refused" in text or "unreachable" in text), text
    assert booted.run("sed 1d /proc/net/route")[1] == ""
    assert booted.run("tail -n +3 /proc/net/dev | cut -d: -f1")[1].split() == ["lo"]


def test_what_changes_the_host_is_refused(make_world: MakeWorld) -> None:
    """Kernel settings, modules, devices and the clock are out of reach."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    for attempt in (
        "echo 1 >/proc/sys/kernel/panic",
        "mknod /dev/disk b 254 0",
        "mount -o remount,rw /sys && echo >/sys/kernel/uevent_helper",
        "date -s 2001-01-01",
    ):
        assert booted.run(attempt)[0] != 0, attempt


def test_people_and_their_secrets_are_not_there(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Homes, keys, byoc's folder, the host's passwords and its SSH keys are out of sight."""
    home = new_home()
    monkeypatch.setenv("BYOC_HOME", str(home))
    (home / "secret").write_text("mine")
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    hidden = [str(home), "/root/.aws", "/root/.config", "/root/.oci", "/root/.bashrc"]
    for path in hidden:
        assert booted.run(f"ls -d {path}")[0] != 0, path
    assert booted.run("cat /root/.ssh/authorized_keys")[1] == CLIENT_KEY.public.strip() + "\n"
    assert booted.run("ls /etc/ssh/ssh_host_*_key")[1] == "/etc/ssh/ssh_host_ed25519_key\n"
    assert "$" not in booted.run("cut -d: -f2 /etc/shadow")[1]
    assert booted.run("env | grep -c AWS; cat /proc/1/environ | tr '\\0' '\\n' | grep BYOC")[1] == (
        "0\n"
    )
    home.joinpath("secret").unlink()
    home.rmdir()


def test_the_metadata_service_is_its_clouds(make_world: MakeWorld) -> None:
    """Requests to 169.254.169.254 reach the façade with method, path, headers and body."""
    asked = []

    def answer(method: str, path: str, headers: object, body: bytes) -> Reply:
        asked.append((method, path, body))
        return Reply(200, b"token-1") if method == "PUT" else Reply(404)

    world = make_world()
    booted = boot(world, metadata=answer)
    wait_up(booted)
    script = (
        "import urllib.request as u\n"
        "r = u.Request('http://169.254.169.254/latest/api/token?a=1', method='PUT', data=b'hi')\n"
        "print(u.urlopen(r, timeout=5).read().decode())\n"
    )
    assert booted.run(f'python3 -c "{script}"') == (0, "token-1\n")
    assert asked == [("PUT", "/latest/api/token?a=1", b"hi")]


def test_gpus_are_shown_where_the_type_has_some(make_world: MakeWorld) -> None:
    """A pretended nvidia-smi answers as the driver's would; without GPUs there is none."""
    world = make_world()
    with_gpus = boot(world, gpu="L4", gpu_count=2, type="g6.12xlarge")
    without = boot(world, id="i-2")
    wait_up(with_gpus, without)
    query = "nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader,nounits"
    code, text = with_gpus.run(query)
    rows = [line.split(", ") for line in text.splitlines()]
    assert code == 0 and [row[:2] for row in rows] == [["0", "NVIDIA L4"], ["1", "NVIDIA L4"]]
    assert int(rows[0][2]) > 20000
    assert with_gpus.run("nvidia-smi -L | wc -l")[1] == "2\n"
    assert without.run("nvidia-smi")[0] == 127


@pytest.mark.parametrize(
    "command",
    [
        "shutdown -h now",
        "shutdown now",
        "poweroff",
        "halt -p",
        "systemctl poweroff",
        "systemctl --no-block poweroff -i",
        "init 0",
        "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'",
    ],
)
def test_a_guest_ends_its_machine(make_world: MakeWorld, command: str) -> None:
    """Each usual way; the cloud hears that the guest did it, and the connection ends."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    with booted.login() as transport:
        channel = transport.open_session()
        channel.exec_command(f"{command}; sleep 30")
        until(lambda: booted.heard == ["up", "shutdown"])
        until(lambda: not transport.is_active())
    assert not greets(booted.address)


def test_a_shutdown_may_be_later_and_may_be_cancelled(make_world: MakeWorld) -> None:
    """``+1`` is a minute away; ``-c`` takes it back."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    assert booted.run("shutdown -h +1 soon")[0] == 0
    until(lambda: "the machine goes off in 60 s" in booted.said())
    assert booted.run("shutdown -c; systemctl status ssh")[0] == 1
    assert booted.heard == ["up"]


def test_a_reboot_keeps_the_disk(make_world: MakeWorld) -> None:
    """It is the same machine again: files are there, runcmd is not run a second time."""
    world = make_world()
    booted = boot(world, cloud_config(bootcmd=["echo boot"], runcmd=["echo once"]))
    wait_up(booted)
    until(lambda: "once" in booted.said())
    booted.run("echo kept >/root/kept; reboot; sleep 30")
    until(lambda: booted.said().count("boot\n") >= 2)
    wait_up(booted)
    assert booted.run("cat /root/kept; ls /run/slept")[1].startswith("kept\n")
    assert booted.said().count("once") == 1 and booted.heard == ["up"]


def test_processes_are_asked_to_end_when_the_power_button_is_pressed(
    make_world: MakeWorld,
) -> None:
    """A cloud that ends an instance gently gives its programs a moment; no event follows."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    booted.run(
        'nohup sh -c \'trap "echo asked >/dev/console; exit" TERM; echo ready >/dev/console;'
        " while :; do sleep 0.05; done' >/dev/null 2>&1 &"
    )
    until(lambda: "ready" in booted.said())
    world.power_off("aws", "i-1", gently=True)
    until(lambda: "asked" in booted.said())
    until(lambda: not greets(booted.address))
    assert booted.heard == ["up"]


def test_a_killed_machine_is_silent(make_world: MakeWorld) -> None:
    """Its peers hear nothing: no end of the connection, no refusal, as when a host loses power."""
    world = make_world("[[event]]\nafter = 'first-input'\naction = 'kill'")
    booted = boot(world)
    wait_up(booted)
    with booted.login() as transport:
        channel = transport.open_session()
        channel.exec_command("echo first-input >>$BYOC_MOMENTS; sleep 60")
        until(lambda: booted.heard == ["up", "crash"])
        assert transport.is_active() and not channel.exit_status_ready()
    with pytest.raises(TimeoutError):
        socket.create_connection((booted.address, 22), 0.3)
    world.gone("aws", "i-1")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((booted.address, 22), 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["cut", "freeze"])
def test_a_pause_is_silence_and_heals(make_world: MakeWorld, action: str) -> None:
    """Connections stand still and go on afterwards; a cut machine works meanwhile, a frozen one
    does not."""
    world = make_world(f"[[event]]\nafter = 'first-result'\naction = '{action}'\nfor = 1.5")
    booted = boot(world)
    wait_up(booted)
    steps = "for i in $(seq 60); do date +%s.%N; sleep 0.05; done"
    with booted.login() as transport:
        channel = transport.open_session()
        channel.settimeout(20)
        channel.exec_command(f"date +%s.%N; echo first-result >>$BYOC_MOMENTS; {steps}")
        until(world.happenings.done)
        text = b""
        while piece := channel.recv(4096):
            text += piece
    times = [float(word) for word in text.split()]
    longest = max(later - earlier for earlier, later in pairwise(times))
    assert len(times) == 61 and (longest > 1.2) == (action == "freeze"), longest


def test_moments_are_noticed(make_world: MakeWorld) -> None:
    """A login is a moment, a mere connection is not; the agent's words are the others."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    [entry] = world.ledger.all()
    assert set(entry.moments) == {"launch", "running"}
    booted.run("printf 'first-input\\nfirst-result\\n' >>$BYOC_MOMENTS")
    until(lambda: "first-result" in entry.moments)
    assert list(entry.moments) == ["launch", "running", "connected", "first-input", "first-result"]


@pytest.mark.slow
def test_many_machines_at_once(make_world: MakeWorld) -> None:
    """Twenty boot together and each is itself."""
    world = make_world()
    all_ = [boot(world, id=f"i-{n}") for n in range(20)]
    wait_up(*all_)
    assert [one.run("hostname")[1] for one in all_[::5]] == ["i-0\n", "i-5\n", "i-10\n", "i-15\n"]


def test_many_sessions_on_one_connection(make_world: MakeWorld) -> None:
    """As byoc uses it: one connection, its agent and shells beside it."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    with booted.login() as transport:
        channels = [transport.open_session() for _ in range(20)]
        assert run(transport, "echo hi") == (0, "hi\n")
        for channel in channels:
            channel.close()


EMULATOR = """
import sys, pathlib, signal
sys.path.insert(0, sys.argv[2])
from byoc.emulator import scenario
from byoc.emulator.world import EmulatedWorld
from tests.emulator.machines import boot, wait_up
world = EmulatedWorld(scenario.parse(""), pathlib.Path(sys.argv[1]))
world.begin()
booted = boot(world)
wait_up(booted)
booted.run("nohup sleep 1000 >/dev/null 2>&1 &")
print(booted.address, flush=True)
signal.pause()
"""


@pytest.mark.slow
def test_nothing_outlives_a_killed_emulator() -> None:
    """SIGKILL of the emulator: machines, their mounts and its folder are gone soon after."""
    folder = new_home()
    line = [sys.executable, "-c", EMULATOR, str(folder), str(ROOT)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        address = emulator.stdout.readline().strip()
        assert address and processes_with(str(folder))
        emulator.send_signal(signal.SIGKILL)
        emulator.wait()
    until(lambda: not processes_with(str(folder)))
    until(lambda: not folder.exists())
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 22), 1)


def test_nothing_outlives_a_killed_nursery(make_world: MakeWorld) -> None:
    """The process that keeps the machines is killed: so are they, and their clouds hear of it."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    [nursery] = [p for p in processes_with("guest.nursery") if _parent(p.pid) == os.getpid()]
    os.kill(nursery.pid, signal.SIGKILL)
    until(lambda: booted.heard == ["up", "crash"])
    until(lambda: not alive(nursery.pid))
    assert len(world.keeper.problems) == 1
    world.keeper.problems.clear()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
