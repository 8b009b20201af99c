"""``byoc emulate``: a command with emulated accounts, from the user's side."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from byoc import __version__
from tests.emulator.machines import real_machines
from tests.helpers import gone, processes_with, until

pytestmark = [real_machines, pytest.mark.timeout(60)]

BYOC = str(Path(sys.executable).with_name("byoc"))


def emulate(
    *words: str, options: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``byoc emulate`` with one cloud, which starts in half a second."""
    return subprocess.run(
        [BYOC, "emulate", "--cloud", "gcp", *options, "--", *words],
        env={**os.environ, "NO_COLOR": "1", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def told(text: str) -> dict[str, str]:
    """What ``env`` printed."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_the_command_finds_emulated_accounts_and_no_real_ones() -> None:
    """Its variables lead to loopback; the caller's own of real accounts are not there."""
    mine = {
        "AWS_PROFILE": "work",
        "AWS_SECRET_ACCESS_KEY": "real",
        "GOOGLE_APPLICATION_CREDENTIALS": "/real.json",
        "CLOUDSDK_CORE_PROJECT": "real",
        "OCI_CLI_PROFILE": "real",
        "BYOC_AWS_PROFILE": "work",
        "BYOC_GCP_PROJECT": "real",
        "OTHER": "kept",
    }
    done = emulate("env", environ=mine)
    found = told(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["BYOC_GCP_ENDPOINT"].startswith("http://127.0.0.1:")
    assert found["BYOC_CLOUDS"] == "gcp" and found["OTHER"] == "kept"
    assert not {
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
        "OCI_CLI_PROFILE",
        "BYOC_AWS_PROFILE",
    } & set(found)
    assert "real" not in json.dumps({k: v for k, v in found.items() if k in mine})


def test_the_accounts_themselves_know_no_real_one() -> None:
    """A profile that is set, and that only real accounts have, is nothing to them."""
    done = emulate("true", options=("--cloud", "aws"), environ={"AWS_PROFILE": "no-such-profile"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["", str(Path(BYOC).parent) + os.pathsep])
def test_the_command_finds_this_byoc(path: str) -> None:
    """Whether or not it is on the PATH; other programs are found where they were."""
    line = "byoc --version; command -v byoc; command -v sh"
    done = emulate("sh", "-c", line, environ={"PATH": path + "/usr/bin:/bin"})
    version, found, shell = done.stdout.splitlines()
    assert version.endswith(__version__) and shell == "/usr/bin/sh"
    assert (found == BYOC) == bool(path)


def test_the_users_own_choices_stay(tmp_path: Path) -> None:
    """A BYOC_HOME and clouds that the user has set are not replaced."""
    done = emulate("env", environ={"BYOC_HOME": str(tmp_path), "BYOC_CLOUDS": "gcp,oci"})
    found = told(done.stdout)
    assert found["BYOC_HOME"] == str(tmp_path) and found["BYOC_CLOUDS"] == "gcp,oci"


def test_without_a_home_there_is_a_temporary_one() -> None:
    """Nothing of a rehearsal mixes with the user's own data."""
    environ = {name: value for name, value in os.environ.items() if name != "BYOC_HOME"}
    done = subprocess.run(
        [
            BYOC,
            "emulate",
            "--cloud",
            "gcp",
            "--",
            "sh",
            "-c",
            "echo $BYOC_HOME; test -d $BYOC_HOME",
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "byoc-emulator-" in done.stdout and not Path(done.stdout.strip()).exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("no-such-command",), 127),
        (("/etc/passwd",), 127),
    ],
)
def test_its_exit_code_is_the_commands(words: tuple[str, ...], code: int) -> None:
    """Signals count as in a shell; a command that cannot be run is 127."""
    assert emulate(*words).returncode == code


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        ((), "[[fault]]\ntimes = 1", "[[fault]] number 1 needs 'error'"),
        ((), None, "the scenario cannot be read"),
        (("--cloud", "azure"), "", "no emulated cloud 'azure'"),
        (("--report", "/nowhere/report.json"), "", "the report cannot be written"),
        (("--seed", "x"), "", "'x' is not a valid int"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(
    tmp_path: Path, options: tuple[str, ...], text: str | None, said: str
) -> None:
    """Exit code 2, the reason, and the command has not run."""
    path = tmp_path / "scenario.toml"
    if text is not None:
        path.write_text(text)
    done = emulate("touch", str(tmp_path / "ran"), options=("--scenario", str(path), *options))
    assert done.returncode == 2 and said in " ".join(done.stderr.split())
    assert not (tmp_path / "ran").exists()


def test_the_report_is_written_and_summarized(tmp_path: Path) -> None:
    """JSON in a file, a line on stderr, nothing on stdout."""
    path = tmp_path / "report.json"
    done = emulate("true", options=("--report", str(path), "--seed", "5"))
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["schema_version"] == 1 and found["seed"] == 5 and found["instances"] == []
    assert found["alive"] == [] and found["leftovers"] == [] and found["exit_code"] == 0
    assert done.stdout == "" and "0 instances booted" in done.stderr


def test_json_holds_the_report() -> None:
    """With --json stdout is one object, and the command's output goes to stderr."""
    done = emulate("sh", "-c", "echo hello; exit 3", options=("--json",))
    found = json.loads(done.stdout)
    assert done.returncode == 3 == found["exit_code"] == found["report"]["exit_code"]
    assert found["command"] == "emulate" and "hello" in done.stderr


def test_signals_reach_the_command(tmp_path: Path) -> None:
    """Who stops byoc emulate stops its command, whose end is awaited; nothing is left."""
    ready = tmp_path / "ready"
    script = f"trap 'echo stopped; exit 9' TERM; touch {ready}; while :; do sleep 0.05; done"
    line = [BYOC, "emulate", "--cloud", "gcp", "--", "sh", "-c", script]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as running:
        until(ready.exists, 30)
        running.terminate()
        out, _ = running.communicate(timeout=20)
    assert running.returncode == 9 and out == "stopped\n"
    gone(str(ready))


def test_the_terminal_is_the_commands(tmp_path: Path) -> None:
    """It sees a terminal, and Ctrl-C there reaches it once."""
    script = "trap 'n=$((n+1))' INT; test -t 0 && test -t 1 && echo a terminal;"
    script += " while [ -z $n ]; do sleep 0.05; done; sleep 0.3; echo heard $n"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(BYOC, [BYOC, "emulate", "--cloud", "gcp", "--", "sh", "-c", script])
    text = b""
    while b"a terminal" not in text:
        text += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    while b"heard" not in text or not text.endswith(b"\n"):
        text += os.read(terminal, 4096)
    assert b"heard 1\r\n" in text
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


def test_it_is_refused_without_root() -> None:
    """At once, with the reason and what to do."""
    line = [sys.executable, "-c", _AS_NOBODY, BYOC]
    done = subprocess.run(line, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 4, done.stderr
    assert "emulated machines need root" in done.stderr and "sudo" in done.stderr


_AS_NOBODY = """
import os, sys
from byoc.cli.main import main
os.geteuid = lambda: 1000
sys.exit(main(["emulate", "--", "true"]))
"""


def test_a_killed_emulator_leaves_nothing(tmp_path: Path) -> None:
    """Its machines' keeper ends, and its folder goes; only the user's command is the user's."""
    ready = tmp_path / "ready"
    script = f"echo $BYOC_HOME >{ready}; exec sleep 1"
    environ = {name: value for name, value in os.environ.items() if name != "BYOC_HOME"}
    line = [BYOC, "emulate", "--cloud", "gcp", "--", "sh", "-c", script]
    with subprocess.Popen(line, env=environ) as running:
        until(lambda: ready.exists() and ready.read_text(), 30)
        folder = Path(ready.read_text().strip()).parent
        running.kill()
    until(lambda: not folder.exists())
    until(lambda: not processes_with(str(folder)))
