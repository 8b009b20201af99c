"""The README's two commands: they set up once, cheaply, and say what is wrong."""

from __future__ import annotations

import ensurepip
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tools import bootstrap, system_parts

SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir())
QUICK = 0.2
"""Seconds that a finished set-up may cost a command; it takes a few thousandths."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the set-up reads, without sources or an environment."""
    for name in ("scripts", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    version = tmp_path / "src/byoc/_version.py"
    version.parent.mkdir(parents=True)
    shutil.copy(ROOT / "src/byoc/_version.py", version)
    return tmp_path


def set_up(checkout: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up of ``checkout``."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "SETUP_VENV")}
    return subprocess.run(
        [checkout / "scripts/setup"],
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> Path:
    """A small shell program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_scripts_are_programs_that_a_plain_shell_can_read(path: Path) -> None:
    """Each script may be executed and parses under sh."""
    assert os.access(path, os.X_OK)
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0


def test_ci_runs_exactly_the_documented_command() -> None:
    """.ci/run is the README's second command and nothing else."""
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert lines[-1] == "exec ./scripts/test"
    assert "\n./scripts/test\n" in (ROOT / "README.md").read_text()


def ready(checkout: Path) -> Path:
    """Give ``checkout`` an environment that counts as finished."""
    venv = checkout / ".venv"
    program(venv / "bin/python", "exit 0\n")
    mark = "".join(
        (checkout / name).read_text()
        for name in ("requirements.lock", "pyproject.toml", "src/byoc/_version.py")
    )
    (venv / bootstrap.READY).write_text(f"{checkout}\n\n{mark}")
    return venv


def test_a_finished_set_up_is_found_quickly(checkout: Path) -> None:
    """When nothing has changed the set-up starts no Python and takes no time worth naming."""
    ready(checkout)
    before = cpu_of_children()
    done = set_up(checkout, PATH="/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert cpu_of_children() - before < QUICK


def cpu_of_children() -> float:
    """Seconds of processor time that ended children have taken; waiting does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_is_set_up_again(checkout: Path, changed: str) -> None:
    """A finished set-up does not hide a new lock or a new dependency."""
    ready(checkout)
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    done = set_up(checkout, PYTHON="/nonexistent/python")
    assert done.returncode == 1
    assert "error: PYTHON=/nonexistent/python is not Python 3.10" in done.stderr


def test_a_shim_that_does_not_start_is_passed_over(checkout: Path) -> None:
    """Of the Pythons on PATH the first that really works is taken, not the first that exists."""
    folder = checkout / "bin"
    program(folder / "python3.13", "echo 'version not installed' >&2; exit 127\n")
    program(folder / "python3.12", 'case "$*" in *version_info*) exit 1;; esac\n')
    program(folder / "python3.11", 'case "$1" in -c) exit 0;; esac; echo "chosen $1"\n')
    done = set_up(checkout, PATH=f"{folder}:/usr/bin:/bin")
    assert done.stderr.split() == ["chosen", str(checkout / "tools/bootstrap.py")]


def test_a_python_without_venv_is_named_with_the_package_to_install(checkout: Path) -> None:
    """Debian splits modules off: the message says which Python lacks them and what brings them."""
    python = program(checkout / "bin/python", 'case "$*" in *venv*) exit 1;; esac\n')
    done = set_up(checkout, PYTHON=str(python))
    assert done.returncode == 1
    assert str(python) in done.stderr
    assert "hint: on Debian or Ubuntu: sudo apt-get install python3-venv" in done.stderr


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path) -> None:
    """A folder of the user's that stands where the environment should be is not removed."""
    (checkout / "mine").mkdir()
    (checkout / "mine/file").write_text("precious")
    done = set_up(checkout, PYTHON=sys.executable, SETUP_VENV=str(checkout / "mine"))
    assert done.returncode == 1
    assert "is not a Python environment" in done.stderr
    assert (checkout / "mine/file").read_text() == "precious"


def test_without_pip_and_uv_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither pip nor uv can be had, nothing is half done in silence."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.SetupError, match="apt-get install python3-venv"):
        bootstrap.find_uv(tmp_path / ".venv", ROOT / "requirements.lock", [], {})


def test_this_pythons_own_pip_comes_first() -> None:
    """The wheel that came with this Python is used before any that the system keeps for another."""
    own = Path(ensurepip.__file__).parent / "_bundled"
    found = bootstrap.bundled_pip()
    assert found is None or not any(own.glob("pip-*.whl")) or found.parent == own


def test_uv_reaches_the_index_that_pip_is_set_up_for(tmp_path: Path) -> None:
    """pip's index, proxy and certificates are told to uv, unless uv has been told otherwise."""
    listing = "global.index-url='https://a/simple'\n:env:.cert='/c.pem'\nglobal.timeout='5'\n"
    (tmp_path / "listing").write_text(listing)
    pip = [str(program(tmp_path / "pip", f"cat {tmp_path}/listing\n"))]
    assert bootstrap.with_pip_settings({}, pip) == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "SSL_CERT_FILE": "/c.pem",
    }
    told = bootstrap.with_pip_settings({"UV_DEFAULT_INDEX": "https://b"}, pip)
    assert told["UV_DEFAULT_INDEX"] == "https://b"
    assert bootstrap.with_pip_settings({}, []) == {}


def test_no_service_starts_while_packages_are_installed(tmp_path: Path) -> None:
    """The rule that keeps services from starting is there meanwhile, and gone afterwards."""
    policy = tmp_path / "policy-rc.d"

    def fail_halfway() -> None:
        with system_parts.no_service_starts(policy):
            assert subprocess.run([policy], check=False).returncode == 101
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert not policy.exists()


def test_an_administrators_own_rule_is_kept(tmp_path: Path) -> None:
    """A policy that is already there is neither changed nor removed."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with system_parts.no_service_starts(policy):
        assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_what_is_missing_is_named_and_nothing_is_installed_when_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ordinary user, or one who says no, learns which tests' programs are not there."""
    monkeypatch.setenv("SETUP_NO_APT", "1")
    system_parts.main(str(tmp_path))
    assert "Not on this machine: sshd" in capsys.readouterr().out
