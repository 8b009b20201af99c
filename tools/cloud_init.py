"""Bring cloud-init for the tests of boot data, without installing it.

    python tools/cloud_init.py

Fetches the packages of cloud-init and of what it imports with apt (no root needed), plus a newer
cloud-init, and unpacks them into the environment, where the tests run them with the system's own
Python. On a system without apt nothing is brought; the tests that need it are then skipped, and
say so. ``SETUP_NO_APT=1`` keeps it from fetching.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(sys.prefix) / "cloud-init"
"""In the environment, so that a checkout stays as it is."""
SYSTEM_PYTHON = Path("/usr/bin/python3")
LIBRARIES = """
    attr certifi chardet charset-normalizer configobj idna jinja2 json-pointer jsonpatch jsonschema
    markupsafe netifaces oauthlib pyrsistent requests serial six urllib3 yaml
"""
"""What cloud-init imports, as packages of Debian 12, ``python3-`` before each."""
NEWER = "25.1.4"
NEWER_URL = (
    "http://deb.debian.org/debian/pool/main/c/cloud-init/cloud-init_25.1.4-1+deb13u1_all.deb"
)
NEWER_SHA256 = "1b120a44110e7234c9cf9ccde78fb5d5ea1292c94ef0ca70d09a580f72980df3"
TIMEOUT = 60.0
"""Seconds for one download."""


class CloudInit(NamedTuple):
    """One version that is there. ``root``: where its package was unpacked."""

    version: str
    root: Path
    libraries: Path

    def command(self, *words: str) -> list[str]:
        """Argv of ``cloud-init WORDS``; nothing of the caller's environment is needed."""
        modules = "usr/lib/python3/dist-packages"
        path = f"PYTHONPATH={self.root / modules}:{self.libraries / modules}"
        start = [str(SYSTEM_PYTHON), "-m", "cloudinit.cmd.main"]
        return ["env", path, "PYTHONDONTWRITEBYTECODE=1", *start, *words]


def found(folder: Path = FOLDER) -> list[CloudInit]:
    """The versions that are there: the distribution's own first, then the newer one."""
    places = [folder / "own", folder / "newer"]
    return [
        CloudInit(_version(place), place, folder / "libraries")
        for place in places
        if place.is_dir() and (folder / "libraries").is_dir()
    ]


def _version(root: Path) -> str:
    text = (root / "usr/lib/python3/dist-packages/cloudinit/version.py").read_text()
    line = next(line for line in text.splitlines() if line.startswith("__VERSION__"))
    return line.split('"')[1]


def _run(argv: list[str], folder: Path) -> bool:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print((done.stderr or done.stdout).strip(), flush=True)
    return done.returncode == 0


def _unpack(packages: list[Path], target: Path) -> bool:
    """Make ``target`` of the packages' files, as a whole."""
    fresh = Path(tempfile.mkdtemp(dir=target.parent))
    fresh.chmod(0o755)
    if not all(_run(["dpkg", "-x", str(one), str(fresh)], target.parent) for one in packages):
        return False
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return True


def _own(folder: Path, work: Path) -> bool:
    """The distribution's cloud-init, and all libraries."""
    libraries = [f"python3-{name}" for name in LIBRARIES.split()]
    fetch = ["apt-get", "-qq", "download", "cloud-init", *libraries]
    if not _run(fetch, work):
        # The lists of packages may be old or absent; only root may renew them.
        if os.geteuid() != 0 or not _run(["apt-get", "-qq", "update"], work):
            return False
        if not _run(fetch, work):
            return False
    own, rest = sorted(work.glob("cloud-init_*.deb")), sorted(work.glob("python3-*.deb"))
    return _unpack(rest, folder / "libraries") and _unpack(own, folder / "own")


def _newer(folder: Path, work: Path) -> bool:
    try:
        with urllib.request.urlopen(NEWER_URL, timeout=TIMEOUT) as answer:
            data = answer.read()
    except OSError as error:
        print(f"cloud-init {NEWER}: {error}", flush=True)
        return False
    if hashlib.sha256(data).hexdigest() != NEWER_SHA256:
        print(f"cloud-init {NEWER}: not the package that was expected", flush=True)
        return False
    package = work / "newer.deb"
    package.write_bytes(data)
    return _unpack([package], folder / "newer")


def main(folder: Path = FOLDER) -> None:
    """Bring what is missing. Never fails: the tests skip what they cannot do."""
    there = {one.root.name for one in found(folder)}
    if there == {"own", "newer"}:
        return
    able = all(map(shutil.which, ("apt-get", "dpkg"))) and SYSTEM_PYTHON.exists()
    if able and not os.environ.get("SETUP_NO_APT"):
        print("Fetching cloud-init for the tests", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            Path(work).chmod(0o755)  # apt fetches as a user of its own
            if "own" in there or _own(folder, Path(work)):
                _newer(folder, Path(work))
    if not found(folder):
        print("cloud-init is not here; the tests that need it are skipped", flush=True)


if __name__ == "__main__":
    main()
