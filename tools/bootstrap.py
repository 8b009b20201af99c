"""Make the project's environment. Standard library only; run by scripts/setup on any Python 3.10+.

    python tools/bootstrap.py ROOT VENV < fingerprint

Creates VENV, installs every version of requirements.lock after checking its hash, installs byoc
from ROOT in editable form, compiles what was installed, and writes the fingerprint last, so that an
interrupted set-up is done again. Two at once wait for each other.

uv does the installing because it is several times faster; pip brings uv, and takes over where uv
cannot reach an index that pip's own settings can.
"""

from __future__ import annotations

import compileall
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HINT = "\nhint: on Debian or Ubuntu: sudo apt-get install python3-venv"
READY = ".byoc-ready"
"""Holds the fingerprint of the finished set-up."""
PIP_SETTINGS = {"index-url": "UV_DEFAULT_INDEX", "proxy": "ALL_PROXY", "cert": "SSL_CERT_FILE"}
"""What of pip's settings uv needs to reach the same index, and the variable that tells it."""
SYSTEM_CERTS = ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
"""Make uv trust the system's certificates, where a company's proxy is known; old and new name."""
PIP_INSTALL = (
    "install",
    "--quiet",
    "--no-deps",
    "--disable-pip-version-check",
    "--no-warn-script-location",
)
APT_PIP = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-venv")
"""Brings the pip that Debian and Ubuntu split from their Python."""
UNWANTED = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME")
"""Variables that would send an installation elsewhere than to the environment."""


class SetupError(Exception):
    """Why the environment cannot be made, in words for the user."""


def main(root: Path, target: Path, fingerprint: str) -> None:
    """Make or repair ``target`` unless another process has just done so."""
    with locked(root):
        ready = target / READY
        if ready.is_file() and ready.read_text() == fingerprint and works(target):
            return
        print(f"Setting up {target} with Python {sys.version.split()[0]}", flush=True)
        ready.unlink(missing_ok=True)
        create(target)
        install(root, target)
        compile_sources(root)
        ready.write_text(fingerprint)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the project's lock. The environment's own folder may be removed while it is held."""
    with (root / "pyproject.toml").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def works(target: Path) -> bool:
    """Whether the environment's interpreter starts and is of this Python's version."""
    code = "import sys; print(sys.version_info[:3])"
    try:
        answer = subprocess.run(
            [target / "bin/python", "-c", code], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.stdout.strip() == str(sys.version_info[:3])


def create(target: Path) -> None:
    """An empty environment, without pip: that takes seconds, and uv does its work."""
    if target.exists() and not works(target):
        if not (target / "pyvenv.cfg").is_file() and any(target.iterdir()):
            raise SetupError(f"{target} exists and is not a Python environment")
        shutil.rmtree(target)
    if not target.exists():
        venv.EnvBuilder(symlinks=True, with_pip=False).create(target)


def install(root: Path, target: Path) -> None:
    """All locked versions, by uv, or by pip where that fails; then byoc itself."""
    lock = root / "requirements.lock"
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    env |= {name: "1" for name in SYSTEM_CERTS if name not in env}
    pip = find_pip(target)
    try:
        uv = find_uv(target, lock, pip, env)
        call([*uv_pip(uv, "sync", target), "--require-hashes", "--compile-bytecode", lock],
             with_pip_settings(env, pip))  # fmt: skip
    except SetupError as trouble:
        if not pip:
            raise
        print(f"uv did not succeed ({trouble}); trying pip", flush=True)
        call([*pip, *PIP_INSTALL, "--require-hashes", "-r", lock], env)
        uv = str(target / "bin/uv")
    call([*uv_pip(uv, "install", target), "--no-deps", "--no-build-isolation", "--offline",
          "--editable", root], env)  # fmt: skip


def uv_pip(uv: str, verb: str, target: Path) -> list[str | Path]:
    """The start of a ``uv pip`` command on the environment."""
    return [uv, "pip", verb, "--quiet", "--python", target / "bin/python"]


def find_pip(target: Path) -> list[str]:
    """A command that runs some pip on the environment's Python; empty when uv on PATH will do.

    The wheel that came with Python runs from its file; else this Python's own pip does. Debian and
    Ubuntu split both off: root installs them, others are told how.
    """
    python = str(target / "bin/python")
    if bundled := bundled_pip():
        return [python, f"{bundled}/pip"]
    spec = importlib.util.find_spec("pip")
    if spec is not None and spec.origin is not None:
        runner = Path(spec.origin).with_name("__pip-runner__.py")
        if runner.is_file():
            return [python, str(runner)]
    if shutil.which("uv"):
        return []
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(APT_PIP, check=False)
        if bundled := bundled_pip():
            return [python, f"{bundled}/pip"]
    raise SetupError(f"this Python has no pip, and uv is not installed{HINT}")


def bundled_pip() -> Path | None:
    """The pip wheel inside this Python, where its distributor left it in."""
    folders = [Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or "/usr/share/python-wheels")]
    spec = importlib.util.find_spec("ensurepip")
    if spec is not None and spec.origin is not None:
        folders.insert(0, Path(spec.origin).parent / "_bundled")
    for folder in folders:  # its own first: another Python's pip may not start on this one
        if wheels := sorted(folder.glob("pip-*.whl")):
            return wheels[-1]
    return None


def find_uv(target: Path, lock: Path, pip: list[str], env: Mapping[str, str]) -> str:
    """The locked uv, installed into the environment; else one that is on PATH."""
    entry = lock_entry(lock, "uv")
    wanted = entry.split()[0].partition("==")[2]
    own = target / "bin" / "uv"
    if own.is_file() and output([str(own), "--version"]).split()[1:2] == [wanted]:
        return str(own)
    if pip:
        only_uv = target / "uv-requirement.txt"
        only_uv.write_text(entry)
        call([*pip, *PIP_INSTALL, "--no-compile", "--require-hashes", "-r", only_uv], env)
        return str(own)
    found = shutil.which("uv")
    if not found:
        raise SetupError(f"this Python has no pip, and no uv is on PATH{HINT}")
    return found


def lock_entry(lock: Path, name: str) -> str:
    """The lines of one package in the lock: its version and its hashes."""
    match = re.search(rf"^{name}==(?:.*\\\n)*.*\n", lock.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f"{lock} does not hold {name}")
    return match.group()


def with_pip_settings(env: Mapping[str, str], pip: list[str]) -> dict[str, str]:
    """``env`` for uv, with the index, proxy and certificates that pip is set up to use."""
    result = dict(env)
    if pip:
        for line in output([*pip, "config", "list"]).splitlines():
            key, _, value = line.partition("=")
            variable = PIP_SETTINGS.get(re.split(r"[.]", key)[-1])
            if variable is not None:
                result.setdefault(variable, value.strip("'\""))
    return result


def output(command: list[str]) -> str:
    """What a command prints; empty when it fails, which its callers take for "no answer"."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def call(command: list[str | Path], env: Mapping[str, str]) -> None:
    """Run a command with its output shown; raises SetupError when it fails."""
    code = subprocess.run(command, env=dict(env), check=False).returncode
    if code != 0:
        words = [Path(command[0]).name, *map(str, command[1:3])]
        raise SetupError(f"{' '.join(words)} ... ended with {code}")


def compile_sources(root: Path) -> None:
    """Compile byoc's own modules, so that the first start is fast even where Python may not write
    compiled files by itself. A read-only checkout is left as it is."""
    if os.access(root / "src", os.W_OK):
        compileall.compile_dir(root / "src", quiet=2)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.stdin.read())
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
