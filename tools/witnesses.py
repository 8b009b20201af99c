"""Make the environments of the independent clients that look at what the adapters made.

    .venv/bin/python tools/witnesses.py            make what is missing
    .venv/bin/python tools/witnesses.py --lock     write their locks anew

Amazon's and Oracle's command lines and Apache Libcloud pin versions that differ from ours, so each
lives in an environment of its own below the project's. Every version and hash is locked in
``tools/witness_locks``. What is there and up to date costs milliseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

if __package__ in (None, ""):  # run as a file, as the docstring says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.bootstrap import (
    SYSTEM_CERTS,
    UNWANTED,
    SetupError,
    call,
    find_pip,
    locked,
    uv_pip,
    with_pip_settings,
)

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "tools" / "witness_locks"
WITNESSES: Mapping[str, tuple[str, ...]] = {
    "awscli": ("awscli==1.46.2",),
    "libcloud": ("apache-libcloud==3.9.1", "cryptography"),
    "oci-cli": ("oci-cli==3.95.1",),
}
"""Name of an environment -> what is wanted in it. oci-cli brings the SDK that byoc uses as well."""
READY = ".byoc-ready"
"""Holds what an environment was made from, written last."""


def home(name: str) -> Path:
    """The folder of one witness's environment, made or not."""
    return Path(sys.prefix) / "witnesses" / name


def program(name: str, *, of: str = "") -> Path | None:
    """A program of a witness's environment; None when that was not made. ``of``: the environment's
    name where it is not the program's."""
    where = home(of or name)
    return where / "bin" / name if ready(of or name) else None


def ready(name: str) -> bool:
    """Whether a witness's environment is complete and made from the lock of today."""
    stamp = home(name) / READY
    return stamp.is_file() and stamp.read_text() == _fingerprint(name)


def _fingerprint(name: str) -> str:
    return sys.version + "\n" + (LOCKS / f"{name}.txt").read_text()


def make(name: str, env: Mapping[str, str]) -> None:
    """One environment, with every version and hash of its lock. Raises SetupError."""
    print(f"Setting up {home(name)}", flush=True)
    (home(name) / READY).unlink(missing_ok=True)
    venv.EnvBuilder(symlinks=True, with_pip=False, clear=True).create(home(name))
    call([*uv_pip(_uv(), "sync", home(name)), "--require-hashes", LOCKS / f"{name}.txt"], env)
    (home(name) / READY).write_text(_fingerprint(name))


def lock(name: str, env: Mapping[str, str]) -> None:
    """Write one lock anew, for every Python and platform. Raises SetupError."""
    command = [_uv(), "pip", "compile", "--quiet", "--universal", "--python-version", "3.10"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--upgrade"]
    done = subprocess.run(
        [*command, "--output-file", str(LOCKS / f"{name}.txt"), "-"],
        input="\n".join(WITNESSES[name]) + "\n",
        text=True,
        env=dict(env),
        check=False,
    )
    if done.returncode:
        raise SetupError(f"uv could not resolve {' '.join(WITNESSES[name])}")


def _uv() -> str:
    return str(Path(sys.prefix) / "bin" / "uv")


def _environ() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    env |= {name: "1" for name in SYSTEM_CERTS if name not in env}
    return with_pip_settings(env, find_pip(Path(sys.prefix)))


def main(arguments: list[str]) -> int:
    """The command line; see the module's text."""
    if arguments not in ([], ["--lock"]):
        print(__doc__, file=sys.stderr)
        return 2
    with locked(ROOT):
        if arguments:
            for name in WITNESSES:
                lock(name, _environ())
        elif missing := [name for name in WITNESSES if not ready(name)]:
            env = _environ()
            for name in missing:
                make(name, env)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
