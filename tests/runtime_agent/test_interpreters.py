"""Finding a Python: what works is taken, what only looks like one is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc.runtime_agent import interpreters
from tests.runtime_agent.wheels import other_python

OWN = "%d.%d" % sys.version_info[:2]


def version(python: str) -> str:
    """What a Python says of itself."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    return subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def fake(folder: Path, name: str, text: str) -> str:
    """An executable file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_running_interpreter_comes_first() -> None:
    """Its own version needs no search and is not a virtual environment's python."""
    found = interpreters.find(OWN, ["/nonexistent"], "/nonexistent", {})
    assert found is not None and version(found).startswith(OWN + ".")
    full = version(found)
    assert interpreters.find(full, (), "/nonexistent", {}) == found
    assert not (Path(found).parent.parent / "pyvenv.cfg").exists()


def test_a_script_on_path_is_not_taken_for_a_python(tmp_path: Path) -> None:
    """A shim called python3.x that fails does not stop the search for the real one behind it."""
    minor, real = other_python()
    shims, plain, good = tmp_path / "shims", tmp_path / "wrappers", tmp_path / "good"
    for folder in (shims, plain):
        fake(folder, f"python{minor}", "#!/bin/sh\nexit 127\n")
    good.mkdir()
    (good / f"python{minor}").symlink_to(real)
    env = {"PATH": os.pathsep.join(map(str, (shims, plain, "relative", good))), "HOME": "/none"}
    assert interpreters.find(minor, (), "/nonexistent", env) == str(good / f"python{minor}")


def test_broken_and_wrong_ones_are_passed_over(tmp_path: Path) -> None:
    """A program that is no Python, one of another version, and a missing one."""
    minor, real = other_python()
    broken = tmp_path / "broken"
    broken.write_bytes(Path("/bin/sh").resolve().read_bytes())
    broken.chmod(0o755)
    wrong = tmp_path / "wrong"
    wrong.symlink_to(os.path.realpath(sys.executable))
    hints = [str(broken), str(wrong), str(tmp_path / "missing"), "relative/python", real]
    env = {"PATH": "", "HOME": str(tmp_path)}
    found = interpreters.find(minor, hints, "/nonexistent", env)
    assert found is not None and version(found).startswith(minor + ".")
    assert found not in (str(broken), str(wrong))


def test_a_full_version_has_to_match_wholly() -> None:
    """3.x.99 is not any 3.x."""
    minor, real = other_python()
    full = version(real)
    env = {"PATH": "", "HOME": "/none"}
    exact = interpreters.find(full, [real], "/nonexistent", env)
    assert exact is not None and version(exact) == full
    assert interpreters.find(minor + ".99", [real], "/nonexistent", env) is None


def test_pyenvs_and_uvs_versions_are_found(tmp_path: Path) -> None:
    """Below the home and the cache, the newest first."""
    minor, real = other_python()
    env = {"PATH": "", "HOME": str(tmp_path)}
    for place in (tmp_path / ".pyenv/versions/%s", tmp_path / "cache/python/cpython-%s-linux"):
        for micro in (".9", ".10"):
            folder = Path(str(place) % (minor + micro)) / "bin"
            folder.mkdir(parents=True)
            (folder / f"python{minor}").symlink_to(real)
    found = list(interpreters._candidates(minor, (), str(tmp_path / "cache"), env))
    ours = [path for path in found if path.startswith(str(tmp_path))]
    assert [f"{minor}.10" in path for path in ours] == [True, False, True, False]
    assert ".pyenv" in ours[0] and "cache/python" in ours[2]


@pytest.mark.parametrize("wanted", ["3.99", "4.0"])
def test_none_when_there_is_none(wanted: str) -> None:
    """A version that nobody has is not found, whatever is on PATH."""
    assert interpreters.find(wanted, (), "/nonexistent", os.environ) is None
