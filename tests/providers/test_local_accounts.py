"""The local provider under an ordinary account, when the tests themselves run as root."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SHORT_TEMP
from tests.helpers import ROOT

USER, UID = "byoc-tester", 64242
EVERYTHING = (
    "commands_run or terminal or home_of_its_own or byoc-end or bulk_passes or unix_sockets "
    "or ends_everything or killed_guardian or killed_init or next_look or boot_lease "
    "or read_only or users_home or network_settings or promise"
)
"""The tests whose outcome may depend on who runs byoc."""
BASICS = "commands_run or terminal or byoc-end"

needs_root = pytest.mark.skipif(
    os.getuid() != 0 or not sys.platform.startswith("linux") or not shutil.which("setpriv"),
    reason="only root on Linux can become another user; the other tests have run as this one",
)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short path that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="byoc-", dir=SHORT_TEMP)).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@needs_root
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("shell", "parts"), [("/bin/bash", EVERYTHING), ("/usr/sbin/nologin", BASICS)]
)
def test_an_ordinary_user_can_do_all_of_it(scratch: Path, shell: str, parts: str) -> None:
    """Machines boot, serve and end for a user without any rights; without a login shell, too."""
    tests = ["test_local_machine.py", "test_local_life.py", "test_local_sandbox.py"]
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestConfigWarning"]
    pytest_line = [sys.executable, "-m", "pytest", *options, "-k", parts]
    pytest_line += [str(ROOT / "tests" / "providers" / name) for name in tests]
    done = as_user(scratch, shell, pytest_line)
    if done.returncode == 77:
        pytest.skip(f"this root cannot mount: {done.stdout}")
    assert done.returncode == 0, done.stdout
    # sshd refuses an account without a login shell, unless a sandbox gives it another.
    assert ("would refuse this account" in done.stdout) == shell.endswith("nologin"), done.stdout


def as_user(scratch: Path, shell: str, line: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command as an account that exists only in a mount namespace of its own.

    What Python needs and others may not enter (a Python below root's home) is made visible there.
    """
    home = scratch / "home"
    home.mkdir()
    os.chown(home, UID, UID)
    passwd = scratch / "passwd"
    account = f"{USER}:x:{UID}:{UID}::{home}:{shell}\n"
    passwd.write_text(Path("/etc/passwd").read_text() + account)
    steps = ["mount --make-rprivate /", f"mount --bind {passwd} /etc/passwd", *_opened(scratch)]
    # Terminals of group tty, as on every ordinary system; some virtual machines lack that.
    steps += ["mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 none /dev/pts"]
    steps += ["mount --bind /dev/pts/ptmx /dev/ptmx"]
    become = f"--reuid {UID} --regid {UID} --clear-groups --bounding-set -all --no-new-privs"
    script = f"{{ {' && '.join(steps)}; }} || exit 77\nexec setpriv {become} {shlex.join(line)}"
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("BYOC_", "PYTEST_"))}
    environ |= {"HOME": str(home), "USER": USER, "PYTHONPATH": os.pathsep.join(sys.path)}
    environ |= {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )


def _opened(scratch: Path) -> list[str]:
    """Mounts that let everybody reach this Python, its packages and the repository."""
    needed = {Path(p).resolve() for p in (sys.base_prefix, sys.prefix, str(ROOT))}
    closed = {path: top for path in needed if (top := _closed_parent(path))}
    steps = []
    for number, path in enumerate(closed):
        keep = scratch / f"keep{number}"
        steps += [f"mkdir {keep}", f"mount --bind {shlex.quote(str(path))} {keep}"]
    steps += [f"mount -t tmpfs -o mode=755 none {top}" for top in set(closed.values())]
    for number, path in enumerate(closed):
        place = shlex.quote(str(path))
        steps += [f"mkdir -p {place}", f"mount --bind {scratch}/keep{number} {place}"]
    return steps


def _closed_parent(path: Path) -> Path | None:
    """The topmost folder above ``path`` that others may not enter."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None
