"""A throw-away machine on which real cloud-init runs: namespaces and an overlay over this host.

It has no network but its own loopback, no systemd, and nothing that it does reaches the host.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.cloud_init import CloudInit

MAKE = r"""
set -eu
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/machine"
mount -t overlay none -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/machine"
cd "$1/machine"
mount -t proc none proc
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t tmpfs none run
mount -t tmpfs none root
mount --rbind /dev dev
mount -t sysfs none sys
ip link set lo up
hostname byoc-test
mkdir -p var/lib/cloud/seed/nocloud etc/cloud/cloud.cfg.d
rm -rf etc/ssh/sshd_config.d
cp -r "$2/etc/cloud/." etc/cloud/
cp "$3/user-data" "$3/meta-data" var/lib/cloud/seed/nocloud/
cp "$3/test.cfg" etc/cloud/cloud.cfg.d/99-test.cfg
exec chroot . /bin/sh
"""
IMAGE = "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: C.UTF-8\n"
"""What an image says to its cloud-init."""
STAGES = (("init", "--local"), ("init",), ("modules", "--mode=config"), ("modules", "--mode=final"))
"""What systemd would have cloud-init do in the course of a boot."""


class CloudMachine:
    """The machine. Its first process is a shell that does what :meth:`run` tells it."""

    def __init__(self, folder: Path, cloud_init: CloudInit, boot_data: str) -> None:
        self.cloud_init = cloud_init
        (folder / "user-data").write_text(boot_data)
        (folder / "meta-data").write_text("instance-id: i-1\nlocal-hostname: byoc-test\n")
        (folder / "test.cfg").write_text(IMAGE)
        place = folder / "machine"
        place.mkdir()
        unshare = "unshare --mount --pid --uts --net --ipc --fork --kill-child=KILL"
        argv = [*unshare.split(), "--propagation", "private", "sh", "-c", MAKE, "make"]
        self.process = subprocess.Popen(
            [*argv, str(place), str(cloud_init.root), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output of a shell command there."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"( {command}\n) 2>&1 </dev/null; echo :done: $?\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            before, mark, status = line.partition(":done: ")
            said.append(before)
            if mark:
                return int(status), "".join(said)
        raise AssertionError(f"the machine ended: {''.join(said)}")

    def ask(self, command: str) -> str:
        """Output of a command that must work."""
        status, said = self.run(command)
        assert status == 0, said
        return said

    def boot(self) -> None:
        """All stages of cloud-init."""
        self.ask("export PATH=/usr/sbin:/usr/bin:/sbin:/bin; cd /; ip -brief link")
        for stage in STAGES:
            self.ask(" ".join(self.cloud_init.command(*stage)))

    def reboot(self) -> None:
        """What a reboot does to a machine: nothing runs, /run is empty, and the boot goes on."""
        self.ask("kill -KILL -1 2>/dev/null; umount /run && mount -t tmpfs none /run")
        self.boot()

    def close(self) -> None:
        """The power goes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
