"""One data folder for a module's tests, whose instance stays warm between their runs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import end_instances, new_home
from tests.helpers import gone

PROGRAMS = Path(__file__).parent / "programs"
"""What a user would have written."""
sys.path.insert(0, str(PROGRAMS))  # as Python does for a script


@pytest.fixture(scope="module")
def warm_home() -> Iterator[Path]:
    """A ``BYOC_HOME`` for all tests of a module; nothing of it is left afterwards."""
    home = new_home()
    before = os.environ["BYOC_HOME"]
    os.environ["BYOC_HOME"] = str(home)
    try:
        yield home
    finally:
        os.environ["BYOC_HOME"] = before
    end_instances(home)
    gone(str(home), 30)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def shared(warm_home: Path) -> Path:
    """A folder that containers and tests both see and write: in the instances' cache."""
    cache = warm_home / "local" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache))


def another_python() -> str:
    """A minor version that this host has and that is not ours; skips when there is none."""
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for minor in ("3.12", "3.13", "3.10", "3.11"):
        managed = list(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python3"))
        if minor != ours and (managed or shutil.which(f"python{minor}")):
            return minor
    pytest.skip("this host has one Python only")


def written_module(folder: Path, name: str, code: str) -> Any:
    """A module that a test wrote."""
    (folder / f"{name}.py").write_text(code)
    sys.path.insert(0, str(folder))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(folder))
