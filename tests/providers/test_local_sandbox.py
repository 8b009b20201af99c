"""What a sandboxed machine of the local provider can see and change of its host."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from byoc.providers.local import sandbox
from tests.helpers import until
from tests.providers.world import World


def test_the_host_is_read_only(sandboxed: World) -> None:
    """Nothing outside the machine's own folders can be written."""
    instance = sandboxed.launch()
    for folder in ("/usr", "/etc", "/var/lib", "/opt", "/run/byoc/bin", "/run/byoc/ssh"):
        done = sandboxed.ssh(instance, f"touch {folder}/byoc-test-file")
        assert done.returncode != 0, folder
        assert b"Read-only" in done.stderr or b"denied" in done.stderr
    assert sandboxed.ssh(instance, "touch /tmp/x /var/tmp/x /root/x /run/x").returncode == 0


def test_keys_and_journal_are_out_of_reach(sandboxed: World) -> None:
    """Of byoc's own folder a machine sees the cache and nothing else: no key, no other machine."""
    other = sandboxed.launch()
    instance = sandboxed.launch()
    home = shlex.quote(str(sandboxed.home))
    assert sandboxed.out(instance, f"ls -A {home}; ls -A {home}/local") == "local\ncache"
    assert sandboxed.ssh(instance, f"cat {home}/client_key").returncode != 0
    assert sandboxed.ssh(instance, f"ls {home}/local/{other.id}").returncode != 0


def test_the_users_home_is_hidden(byoc_home: Path, tmp_path: Path) -> None:
    """Credentials in the home of whoever runs byoc cannot be read; tools in it still can."""
    people = Path(byoc_home.parent, f"{byoc_home.name}-people")
    (people / ".ssh").mkdir(parents=True)
    (people / ".ssh" / "id_ed25519").write_text("secret")
    (people / ".pyenv" / "versions" / "3.99").mkdir(parents=True)
    try:
        world = World(byoc_home, {"HOME": str(people), "BYOC_LOCAL_ISOLATION": "bwrap"})
        instance = world.launch()
        assert world.out(instance, f"find {people} -type f") == ""
        assert world.out(instance, f"ls {people}/.pyenv/versions") == "3.99"
        assert world.ssh(instance, f"touch {people}/.pyenv/versions/x").returncode != 0
        assert world.ssh(instance, "ls ~/.ssh").returncode != 0
        world.provider.terminate(instance.id)
    finally:
        subprocess.run(["rm", "-rf", str(people)], check=True)


def test_the_real_home_is_not_readable(sandboxed: World) -> None:
    """The account's own home holds nothing but Python versions, whoever runs byoc."""
    instance = sandboxed.launch()
    real = Path(os.path.expanduser("~"))
    hidden = [p for p in (".ssh", ".aws", ".config", ".oci", ".bashrc") if (real / p).exists()]
    if not hidden:
        pytest.skip("this account has no files in its home that could be hidden")
    for name in hidden:
        assert sandboxed.ssh(instance, f"test -e {shlex.quote(str(real / name))}").returncode == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can read these files")
def test_roots_secrets_stay_hidden_when_root_runs_byoc(sandboxed: World) -> None:
    """Files that only root can read are not given away to code in a machine."""
    instance = sandboxed.launch()
    assert Path("/etc/shadow").read_text()
    assert sandboxed.out(instance, "cat /etc/shadow || true") == ""
    assert sandboxed.ssh(instance, "test $(id -u) = 0").returncode == 1


def test_the_hosts_processes_are_invisible(sandboxed: World) -> None:
    """A machine sees its own processes only, and cannot signal others."""
    instance = sandboxed.launch()
    guardian = sandboxed.guardian(instance)
    pids = sandboxed.out(instance, "ls /proc | grep -c '^[0-9]'")
    assert int(pids) < 15
    assert sandboxed.ssh(instance, f"grep -q guardian /proc/{guardian}/cmdline").returncode != 0


def test_temporary_files_are_the_machines_own(sandboxed: World) -> None:
    """/tmp inside is not the host's, lies on disk in the machine's folder, and goes with it."""
    instance = sandboxed.launch()
    sandboxed.out(instance, "echo x > /tmp/mine")
    assert (sandboxed.folder(instance) / "tmp" / "mine").exists()
    assert sandboxed.out(instance, f"ls -d {sandboxed.home}/client* 2>/dev/null || true") == ""


def test_the_machine_has_a_name_and_an_ordinary_user(sandboxed: World) -> None:
    """Its host name is its id; its user is no root, has an account, and owns its home."""
    instance = sandboxed.launch()
    lines = sandboxed.out(instance, "uname -n; whoami; stat -c %U /root; id -u").split("\n")
    assert lines[:3] == [instance.id, "byoc", "byoc"] and lines[3] != "0"


def test_names_are_resolved_as_on_the_host(sandboxed: World) -> None:
    """The resolver's configuration is there although /run is the machine's own."""
    instance = sandboxed.launch()
    ours = Path("/etc/resolv.conf")
    if ours.exists():
        assert sandboxed.out(instance, "cat /etc/resolv.conf") == ours.read_text().strip()


def test_the_network_settings_of_the_host_are_taken_over(byoc_home: Path) -> None:
    """Proxies, certificates and package indexes reach the machine; other variables do not."""
    settings = {"HTTPS_PROXY": "http://127.0.0.1:1", "UV_INDEX_URL": "a b\"c'", "MY_SECRET": "x"}
    settings["PIP_INDEX_URL"] = "two\nlines"
    world = World(byoc_home, settings)
    instance = world.launch()
    environ = world.out(instance, "env").split("\n")
    assert "HTTPS_PROXY=http://127.0.0.1:1" in environ and "UV_INDEX_URL=a b\"c'" in environ
    assert not [line for line in environ if line.startswith(("MY_SECRET", "PIP_INDEX_URL"))]


def test_deeper_mounts_come_later() -> None:
    """What must be seen inside a hidden folder is mounted after it, whatever the order given."""
    view = sandbox.View(
        folder="/m",
        hostname="h",
        hidden=("/usr/share", "/usr"),
        visible=("/usr/lib", "/usr/share/zoneinfo"),
        writable=("/usr/share/cache",),
    )
    line = sandbox.command("/bin/bwrap", view, ["true"])
    places = [line[i + 2] for i, word in enumerate(line) if word in ("--bind", "--ro-bind")]
    hidden = [line[i + 1] for i, word in enumerate(line) if word == "--tmpfs"]
    assert {"/usr", "/usr/share", "/run"} <= set(hidden)
    assert line.index("/usr") < line.index("/usr/lib") < line.index("/usr/share/cache")
    assert places.index("/usr/lib") < places.index("/usr/share/cache")


def test_a_sandbox_that_cannot_start_says_why(best: World) -> None:
    """When a machine dies at birth, get tells the end of its log."""
    if best.provider.mode().isolation != "bwrap":
        pytest.skip("bwrap is not used on this host")
    fake = best.home / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n[ \"$#\" -lt 25 ] || { echo 'no namespaces today' >&2; exit 1; }\n")
    fake.chmod(0o755)
    world = World(best.home, {"PATH": f"{fake.parent}:{os.environ['PATH']}"})
    instance = world.provider.launch(world.request())
    until(lambda: world.state(instance) == "gone")
    assert "no namespaces today" in world.provider.get(instance.id).detail
