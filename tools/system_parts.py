"""Bring the programs that some tests need: an SSH server and bubblewrap.

    python tools/system_parts.py

Where it runs as root on Debian or Ubuntu it installs what is missing, without letting a service
start, now or at the next boot. Anywhere else it says what is missing; the tests that need it are
then skipped, and say so. ``SETUP_NO_APT=1`` keeps it from installing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTS = {"sshd": "openssh-server", "bwrap": "bubblewrap"}
"""Each program, and the package of Debian and Ubuntu that brings it."""
SERVICES = {"openssh-server": ("ssh.service", "ssh.socket")}
"""What a package would have started at the next boot."""
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""Servers are not on an ordinary user's PATH."""
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = (
    "#!/bin/sh\n# byoc's test set-up: no service starts while it installs packages\nexit 101\n"
)


def missing(search: str) -> list[str]:
    """The programs that are not on that path. bubblewrap exists for Linux only."""
    wanted = [p for p in PARTS if p != "bwrap" or sys.platform.startswith("linux")]
    return [program for program in wanted if shutil.which(program, path=search) is None]


def may_install() -> bool:
    """Whether this is root on a system with apt, and nobody said no."""
    return (
        not os.environ.get("SETUP_NO_APT")
        and os.geteuid() == 0
        and shutil.which("apt-get") is not None
    )


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
    """Keep package scripts from starting services, and leave no trace of having done so."""
    if policy.exists() and policy.read_text() != POLICY_TEXT:
        yield  # an administrator's own rule stands
        return
    # A termination in the middle must still remove the file.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    policy.write_text(POLICY_TEXT)
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def install(packages: list[str]) -> bool:
    """Install by apt, quietly; returns whether that worked."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]
    with no_service_starts():
        for command in (
            [*quiet, "update"],
            [*quiet, "install", "--yes", "--no-install-recommends", *packages],
        ):
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(done.stderr.strip(), flush=True)
                return False
    for service in (s for package in packages for s in SERVICES.get(package, ())):
        if shutil.which("systemctl"):
            subprocess.run(["systemctl", "--quiet", "disable", service], check=False)
    return True


def main(search: str = SEARCH) -> None:
    """Install or name what is missing. Never fails: the tests skip what they cannot do."""
    absent = missing(search)
    if absent and may_install():
        packages = [PARTS[program] for program in absent]
        print(f"Installing {' and '.join(packages)} for the tests", flush=True)
        if not install(packages):
            print("warning: apt-get did not succeed", flush=True)
        absent = missing(search)
    if absent:
        print(f"Not on this machine: {', '.join(absent)}; the tests that need it are skipped")
        if sys.platform.startswith("linux"):
            packages = [PARTS[program] for program in absent]
            print(f"hint: install {' and '.join(packages)} to run them", flush=True)


if __name__ == "__main__":
    main()
