"""What travels to an instance runs on the Python that is there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from tests.helpers import ROOT

OLDEST = (3, 8)
MINORS = range(OLDEST[1], 15)
SOURCES = ROOT / "src/byoc"
ROOMS = ("container", "runtime_agent", "wire")
AGENT = [path for room in ROOMS for path in (SOURCES / room).rglob("*.py")]
CLIENT_ONLY = {"load", "choose"}
"""Modules of ``sdk/`` that only the command line uses."""
IN_CONTAINERS = [
    *(path for path in (SOURCES / "sdk").glob("*.py") if path.stem not in CLIENT_ONLY),
    *(SOURCES / f"images/{name}.py" for name in ("checks", "mount", "patterns", "recipe")),
    *(SOURCES / f"engine/{name}.py" for name in ("calls", "inputs", "results", "spec", "threads")),
    *(SOURCES / f"{name}.py" for name in ("__init__", "clock", "errors", "exception", "functions")),
    *(SOURCES / f"{name}.py" for name in ("gpu", "limits", "notices", "resources")),
]
"""What the user's ``import byoc`` can load inside a container."""
TRAVELLERS = sorted([*AGENT, *IN_CONTAINERS])
NOT_IMPORTED = {"boot"}
"""``boot`` is a program from its first line to its last; it is run as text, never imported."""


@lru_cache(maxsize=1)
def interpreters() -> dict[int, Path]:
    """One working ``python3.N`` for each N that this machine has, from PATH and from pyenv."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted((Path.home() / ".pyenv/versions").glob("*/bin"))
    found: dict[int, Path] = {}
    for minor in MINORS:
        for folder in folders:
            python = folder / f"python3.{minor}"
            if minor not in found and python.is_file() and _starts(python):
                found[minor] = python
    return found


def _starts(python: Path) -> bool:
    """A pyenv shim exists for versions that are not installed; those do not start."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("path", TRAVELLERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_parses_under_the_oldest_python(path: Path) -> None:
    """No syntax newer than Python 3.8 stands in what an instance runs."""
    assert ast.parse(path.read_text(), str(path), feature_version=OLDEST)


@pytest.mark.parametrize("minor", MINORS)
def test_imports_under_every_python(minor: int) -> None:
    """Every module that travels can be imported with nothing but that Python."""
    python = interpreters().get(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    names = [
        "byoc." + re.sub(r"/|\.py$", ".", str(path.relative_to(ROOT / "src/byoc"))).strip(".")
        for path in TRAVELLERS
        if path.stem not in NOT_IMPORTED
    ]
    modules = [name.removesuffix(".__init__") for name in names]
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import " + ", ".join(modules)
    done = subprocess.run(
        [python, "-I", "-S", "-B", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
