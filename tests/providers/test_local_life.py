"""How machines of the local provider come into being, stay, and end; and that nothing is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from byoc.errors import BadRequestError, BootError, TransientError
from byoc.providers.base import OWNER_TAG, TOKEN_TAG, Instance
from byoc.providers.local.folder import KEEP_DRAFTS, KEEP_TOMBSTONES
from byoc.providers.local.machine import processes
from byoc.resources import Offer
from tests.helpers import ROOT, alive, gone, processes_with, until
from tests.providers.world import ShiftedClock, World

DAEMON = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for handle in (0, 1, 2): os.dup2(os.open(os.devnull, os.O_RDWR), handle)
os.execve(sys.executable, [sys.executable, "-I", "-c", "import time; time.sleep(600)", sys.argv[1]],
          {})
"""
"""A process that forks twice, leaves its session, and drops its environment and files."""


def start_daemon(world: World, instance: Instance) -> str:
    """Leaves a daemon running in the machine; returns the text that its command line contains."""
    mark = f"daemon-of-{instance.id}"
    world.out(instance, world.python(DAEMON, mark))
    until(lambda: processes_with(f"\0{mark}") or processes_with(mark), what="the daemon")
    return mark


def test_terminate_ends_everything(world: World) -> None:
    """Daemons that forked, left their session and hid die with the machine, and its folder goes."""
    instance = world.launch()
    mark = start_daemon(world, instance)
    world.provider.terminate(instance.id)
    assert not processes_with(mark)
    gone(instance.id)
    assert not world.folder(instance).exists()
    assert world.provider.get(instance.id).detail == "terminated"


def test_terminate_is_idempotent(best: World) -> None:
    """Ending what has ended, or what never was, is success and changes nothing."""
    instance = best.launch()
    for _ in range(2):
        best.provider.terminate(instance.id)
    best.provider.terminate("local-0000000000")
    best.provider.terminate("../../etc")
    assert best.provider.get(instance.id).detail == "terminated"


def test_processes_are_asked_before_they_are_killed(world: World) -> None:
    """At the end of a machine its processes get SIGTERM, and time to do something about it."""
    instance = world.launch()
    note = Path(world.provider.traits.cache, "note")
    polite = (
        "import signal,sys,time\n"
        "def end(*_): open(sys.argv[1],'w').write('bye'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    with world.connected(instance) as client:
        out = client.exec_command(world.python(polite, str(note)))[1]
        assert out.readline() == "ready\n"
        world.provider.terminate(instance.id)
    assert note.read_text() == "bye"


def test_a_killed_guardian_takes_the_machine_along(world: World) -> None:
    """The machine cannot outlive its dead-man, even when that is killed without warning."""
    instance = world.launch()
    mark = start_daemon(world, instance)
    os.kill(world.guardian(instance), signal.SIGKILL)
    assert world.ended(instance).startswith("died")
    gone(mark)
    gone(instance.id)


def test_a_killed_init_ends_the_machine(world: World) -> None:
    """Without its first process a machine is over: all else dies, and the tombstone says so."""
    instance = world.launch()
    mark = start_daemon(world, instance)
    guardian = world.guardian(instance)
    init = next(p for p in until(lambda: _children(guardian)))
    os.kill(init, signal.SIGKILL)
    assert world.ended(instance).startswith("died")
    gone(mark)
    gone(instance.id)


def _children(parent: int) -> list[int]:
    listing = subprocess.run(
        ["ps", "-ax", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    return [int(pid) for pid, ppid in rows if int(ppid) == parent and alive(int(pid))]


def test_when_guardian_and_init_die_the_next_look_clears_up(world: World) -> None:
    """Even both killed at once leave nothing for long: any get or list ends what remains."""
    instance = world.launch()
    with world.connected(instance) as client:
        out = client.exec_command("echo ready; sleep 600")[1]
        assert out.readline() == "ready\n"
        guardian = world.guardian(instance)
        for pid in [*_children(guardian), guardian]:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(guardian))
        assert world.provider.list({}) == []
        assert world.state(instance) == "gone"
    gone(instance.id)


def test_a_machine_nobody_reaches_ends_by_its_boot_lease(world: World) -> None:
    """Without a renewal the machine ends itself; no client takes part."""
    instance = world.launch(boot_lease=0.7)
    until(lambda: not world.folder(instance).exists(), 10, "the end of the lease")
    assert world.ended(instance) == "lease expired"
    gone(instance.id)


def test_a_renewed_lease_keeps_the_machine(world: World) -> None:
    """The lease that the agent writes replaces the boot lease, later or earlier."""
    instance = world.launch(boot_lease=1.0)
    boot_deadline = time.monotonic() + 1.0
    renew(world, instance, 60)
    until(lambda: time.monotonic() > boot_deadline + 0.3)
    assert world.state(instance) == "running"
    renew(world, instance, -1)
    assert world.ended(instance) == "lease expired"


def renew(world: World, instance: Instance, seconds: float) -> None:
    """Writes the lease file as the agent does: whole or not at all."""
    folder = world.folder(instance) / "home" / ".byoc"
    folder.mkdir(exist_ok=True)
    (folder / "new").write_text(repr(time.monotonic() + seconds))
    (folder / "new").rename(folder / "lease")


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-inf?", "9" * 200])
def test_a_lease_that_is_none_changes_nothing(best: World, text: str) -> None:
    """Garbage in the lease file leaves the boot lease in force."""
    instance = best.launch(boot_lease=0.7)
    lease = best.folder(instance) / "home" / ".byoc" / "lease"
    lease.parent.mkdir()
    lease.write_text(text)
    assert best.ended(instance) == "lease expired"


def test_a_repeated_launch_gives_the_same_machine(best: World) -> None:
    """One token is one machine, whoever asks and however often, until it has ended."""
    first = best.launch("token")
    assert best.launch("token") == first
    assert best.another_client().launch("token") == first
    assert [i.id for i in best.provider.list({TOKEN_TAG: "token"})] == [first.id]
    best.provider.terminate(first.id)
    again = best.launch("token")
    assert again.id == first.id and again.started > first.started


RACE = """
import os, sys
from pathlib import Path
from tests.providers.world import World
from byoc.providers.base import HostKey
world = World(Path(sys.argv[1]), host=HostKey("none", "none"))
sys.stdin.read(1)
instance = world.provider.launch(world.request("race"))
print(instance.id, instance.port)
"""


def test_racing_clients_share_one_machine(best: World) -> None:
    """Clients that launch one token at the same moment all get the same machine."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(best.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write(b"g")
        racer.stdin.flush()
    answers = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(answers) == 1 and b"local-" in answers.pop()
    assert len(best.provider.list({})) == 1


def test_machines_outlive_the_client_that_launched_them(best: World) -> None:
    """A machine belongs to no process: its client may die at once, and another finds it."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    code = RACE + "\nos.kill(0, 9)\n"
    client = subprocess.run(
        [sys.executable, "-c", code, str(best.home)],
        input=b"g",
        env=environ,
        start_new_session=True,
        check=False,
    )
    assert client.returncode == -signal.SIGKILL
    (found,) = best.provider.list({TOKEN_TAG: "race"})
    assert found.state == "running"
    best.provider.terminate(found.id)


def test_list_and_get_tell_what_was_launched(best: World) -> None:
    """A machine is found by its tags, with its address, user, offer and pinned host key."""
    one, two = best.launch(), best.launch()
    assert {i.id for i in best.provider.list({OWNER_TAG: "tests"})} == {one.id, two.id}
    assert best.provider.list({TOKEN_TAG: one.tags[TOKEN_TAG]}) == [one]
    assert best.provider.list({OWNER_TAG: "others"}) == []
    assert best.provider.get(one.id) == one
    assert one.host_key == best.host.public and one.offer.key() == "local/local/host/host/on-demand"
    assert abs(one.started - time.time()) < 30


def test_a_gone_machine_is_explained_by_its_tombstone(best: World) -> None:
    """After the end its tags, offer and the reason are still known; an unknown id is just gone."""
    instance = best.launch()
    best.provider.terminate(instance.id)
    after = best.provider.get(instance.id)
    assert (after.state, after.tags, after.offer) == ("gone", instance.tags, instance.offer)
    assert best.provider.get("local-zzzzzzzzzz").state == "gone"
    assert best.provider.get("../launch.lock").state == "gone"


@pytest.mark.parametrize("text", ["", "{", '{"id": 3}', "[]", '{"offer": {"x": 1}}'])
def test_a_torn_record_hides_no_machine(best: World, text: str) -> None:
    """A machine whose record was damaged is still listed, and can be ended."""
    instance = best.launch()
    (best.folder(instance) / "machine.json").write_text(text)
    (found,) = best.provider.list({})
    assert (found.id, found.state, found.port) == (instance.id, "running", 0)
    assert best.provider.list({OWNER_TAG: "tests"}) == []
    best.provider.terminate(instance.id)
    assert best.state(instance) == "gone"


def test_what_a_crash_left_is_cleared(best: World) -> None:
    """Half-made folders of a client that died while launching are nothing, and go away."""
    best.launch()
    local = best.home / "local"
    for name, files in (("local-aaaaaaaaaa", []), ("local-bbbbbbbbbb", ["lock", "machine.json"])):
        (local / name).mkdir()
        for file in files:
            (local / name / file).write_text("{")
    assert len(best.provider.list({})) == 1
    assert best.provider.get("local-bbbbbbbbbb").state == "gone"
    assert len([p for p in local.iterdir() if p.name.startswith("local-")]) == 1


def test_a_launch_over_a_crashed_one_succeeds(best: World) -> None:
    """The token of a launch that crashed half-way can be launched again."""
    first = best.launch("token")
    os.kill(best.guardian(first), signal.SIGKILL)
    gone(first.id)
    assert best.launch("token").state == "running"


def test_a_machine_whose_folder_was_removed_ends(best: World) -> None:
    """A machine that nobody can find any more does not live on."""
    instance = best.launch()
    best.out(instance, "true")
    best.folder(instance).rename(best.home / "elsewhere")
    gone(instance.id)
    assert best.provider.get(instance.id).detail == "folder removed"


def test_only_what_is_offered_can_be_launched(best: World) -> None:
    """An offer of something else is refused before anything is made."""
    other = Offer("local", "local", "host", "big", "on-demand", 0.0, 64.0, 1)
    request = best.request()
    with pytest.raises(BadRequestError, match="big"):
        best.provider.launch(request._replace(offer=other))
    assert best.provider.list({}) == []


def test_leftovers_age_out(best: World) -> None:
    """Tombstones are kept for a week, folders in the trash for a minute, by the injected clock."""
    first = best.launch()
    best.provider.terminate(first.id)
    local = best.home / "local"
    (local / "trash" / "old").mkdir()
    best.launch()
    assert (local / "ended" / f"{first.id}.json").exists() and (local / "trash" / "old").exists()
    clock = ShiftedClock()
    clock.shift = max(KEEP_TOMBSTONES, KEEP_DRAFTS) + 60
    World(best.home, clock=clock).launch()
    assert not (local / "ended" / f"{first.id}.json").exists()
    assert not (local / "trash" / "old").exists()


def test_a_stuck_launch_does_not_hang_others(best: World) -> None:
    """When another client holds the launch lock for too long, the launch fails for now."""
    best.launch()
    clock = ShiftedClock()
    line = f"flock {shlex.quote(str(best.home / 'local' / 'launch.lock'))} -c 'echo held; cat'"
    holder = subprocess.Popen(line, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(TransientError, match="launch"):
            World(best.home, clock=clock).launch("later")
    finally:
        holder.communicate(timeout=10)


def test_a_terminated_guardian_ends_its_machine_in_order(best: World) -> None:
    """SIGTERM to the guardian, as at the host's own shutdown, ends the machine properly."""
    instance = best.launch()
    os.kill(best.guardian(instance), signal.SIGTERM)
    assert best.ended(instance) == "terminated"
    gone(instance.id)


def test_a_host_that_cannot_hold_a_machine_says_so(best: World) -> None:
    """Where byoc's folder cannot be written, the launch fails by an error of ours."""
    (best.home / "local" / "ended").write_text("not a folder")
    with pytest.raises(BootError, match="cannot be put up"):
        best.launch()


def test_a_guardian_that_does_not_react_is_killed(best: World) -> None:
    """terminate gets through even when the guardian is stopped."""
    instance = best.launch()
    mark = start_daemon(best, instance)
    os.kill(best.guardian(instance), signal.SIGSTOP)
    World(best.home, clock=ShiftedClock()).provider.terminate(instance.id)
    assert best.state(instance) == "gone"
    gone(mark)
    gone(instance.id)


def test_a_read_only_tree_is_removed(best: World) -> None:
    """Folders that a program made read-only do not keep the machine's folder alive."""
    instance = best.launch()
    best.out(
        instance, "mkdir -p a/b && touch a/b/c && ln -s / a/l && chmod a-wx a/b && chmod a-w a"
    )
    best.provider.terminate(instance.id)
    until(lambda: not list((best.home / "local" / "trash").iterdir()))


def test_the_record_is_plain_data(best: World) -> None:
    """What byoc keeps of a machine is JSON, without any key but the public one."""
    instance = best.launch()
    text = (best.folder(instance) / "machine.json").read_text()
    assert json.loads(text)["mode"] == str(best.provider.mode())
    assert "PRIVATE" not in text


def test_processes_are_found_without_proc() -> None:
    """On systems without /proc the process table comes from ps, and says the same of us."""
    with subprocess.Popen(["sleep", "60"]) as child:
        assert processes._parents_from_ps()[child.pid] == os.getpid()
        assert processes.parents()[child.pid] == os.getpid()
        child.kill()
    assert child.pid not in processes.parents()


def test_ten_machines_at_once(best: World) -> None:
    """Many machines of one installation live side by side and end without touching each other."""
    made = [best.launch() for _ in range(10)]
    assert len({(i.address, i.port) for i in made}) == 10
    for instance in made[::2]:
        best.provider.terminate(instance.id)
    assert {i.id for i in best.provider.list({})} == {i.id for i in made[1::2]}
    assert best.out(made[1], "echo $BYOC_INSTANCE") == made[1].id
