"""The command line end to end, on the local provider, over real SSH."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import harness
from tests.cli.harness import Said
from tests.helpers import alive, until

HELLO = """\
import os, sys, time
import byoc

app = byoc.App("hello")


@app.function()
def square(x: int):
    print("squaring", x, flush=True)
    return {"square": x * x}


@app.function()
def boom(n: int = 1):
    raise ValueError(f"no {n}")


@app.function()
def forever():
    print("begun", flush=True)
    time.sleep(600)


@app.local_entrypoint()
def main(n: int = 3):
    print("here", square.remote(n), flush=True)


@app.local_entrypoint()
async def later(n: int = 3):
    print("later", await square.remote.aio(n))


@app.local_entrypoint()
def leave(code: int):
    sys.exit(code)
"""
PLAIN = """\
import os, sys
print("plain", __name__, sys.argv[1:], open("beside.txt").read().strip(), flush=True)
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
"""
TICKS = """\
import time
for i in range(10_000):
    print("tick", i, flush=True)
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs to run, and a file beside them."""
    made = tmp_path_factory.mktemp("programs")
    for name, text in (("hello.py", HELLO), ("plain.py", PLAIN), ("ticks.py", TICKS)):
        (made / name).write_text(text)
    (made / "beside.txt").write_text("beside\n")
    return made


@pytest.fixture(scope="module")
def env(warm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of all these commands: one data folder, one warm instance."""
    compiled = tmp_path_factory.mktemp("pycache")
    return harness.environment(warm_home, PYTHONPYCACHEPREFIX=str(compiled))


@pytest.fixture
def byoc(folder: Path, env: dict[str, str]) -> Byoc:
    """Runs the command in the folder of programs."""
    return Byoc(folder, env)


class Byoc:
    """The command, called as a user does."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env

    def __call__(self, *args: str, stdin: str = "") -> Said:
        return harness.byoc(list(args), self.folder, self.env, stdin)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """The command, going on."""
        return subprocess.Popen(
            [sys.executable, "-m", "byoc", *args],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def test_an_entrypoint_runs(byoc: Byoc) -> None:
    """Remote and local output on stdout, stages and a last line on stderr, exit code 0."""
    said = byoc("run", "hello.py::main", "--n", "4")
    assert said.code == 0, said.err
    assert said.out == "squaring 4\nhere {'square': 16}\n"
    stages = [line.split()[1] for line in said.err.splitlines() if line.startswith("byoc: ")]
    assert stages[0] == "place" and stages[-2:] == ["run", "done"]
    assert "kept until" in said.err.splitlines()[-1]


def test_an_async_entrypoint_runs(byoc: Byoc) -> None:
    """An entrypoint may be a coroutine."""
    said = byoc("run", "--quiet", "hello.py::later")
    assert (said.code, said.out, said.err) == (0, "squaring 3\nlater {'square': 9}\n", "")


def test_a_function_runs_and_its_value_is_data(byoc: Byoc) -> None:
    """With --json stdout is one object with the function's value, whatever it prints."""
    said = byoc("run", "--json", "hello.py::square", "--x", "5")
    shown = json.loads(said.out)
    assert shown["ok"] is True and shown["result"] == {"square": 25}
    assert "squaring 5" in said.err
    assert set(shown["stages"]) >= {"place", "connect", "image", "run"}


def test_a_remote_exception_is_the_users(byoc: Byoc) -> None:
    """Exit code 1, a traceback that ends in the user's remote line, no frame of byoc's."""
    said = byoc("run", "hello.py::boom", "--n", "7")
    assert said.code == 1
    shown = said.err[said.err.rindex("Traceback") :]
    assert ":/root/hello.py" in shown and "ValueError: no 7" in shown
    assert "runtime_agent" not in shown and "/byoc/engine/" not in shown


def test_sys_exit_in_an_entrypoint(byoc: Byoc) -> None:
    """The entrypoint's own exit code is the command's."""
    assert byoc("run", "hello.py::leave", "--code", "9").code == 9


def test_a_plain_script_runs_remotely(byoc: Byoc) -> None:
    """As __main__, with its arguments, its folder beside it, and its exit code."""
    said = byoc("run", "--quiet", "plain.py", "3", "--flag")
    assert (said.code, said.err) == (3, "")
    assert said.out == "plain __main__ ['3', '--flag'] beside\n"


def test_a_program_on_standard_input(byoc: Byoc) -> None:
    """A plain program and one with an app can both come through a pipe."""
    assert byoc("run", "--quiet", "-", "x", stdin="import sys; print(sys.argv[1])").out == "x\n"
    said = byoc("run", "--quiet", "-::square", "--x", "3", stdin=HELLO)
    assert (said.code, said.out) == (0, "squaring 3\n"), said.err


def test_a_command_runs_in_a_copy_of_the_folder(byoc: Byoc) -> None:
    """Exit code, variables, standard input and binary output pass through."""
    script = 'cat beside.txt; printf "$A"; cat; exit 7'
    said = byoc("exec", "-e", "A=b", "--quiet", "--", "sh", "-c", script, stdin="in\n")
    assert (said.code, said.out, said.err) == (7, "beside\nbin\n", "")


def test_artifacts_come_back(byoc: Byoc) -> None:
    """Files that match are fetched, others are not."""
    script = "mkdir -p made; echo one > made/a.txt; echo two > b.bin"
    said = byoc("exec", "--artifacts", "made/*.txt", "--", "sh", "-c", script)
    assert said.code == 0, said.err
    assert (byoc.folder / "made/a.txt").read_text() == "one\n"
    assert not (byoc.folder / "b.bin").exists()


def test_a_command_that_is_not_there(byoc: Byoc) -> None:
    """Exit code 127, as in a shell, with byoc's own words."""
    said = byoc("exec", "--", "no-such-program")
    assert said.code == 127 and "error: no-such-program" in said.err


def test_what_ran_can_be_looked_up(byoc: Byoc) -> None:
    """ps shows the instance, why the run, logs its output, ssh leads onto it."""
    assert byoc("run", "--quiet", "plain.py", "0").code == 0
    row = json.loads(byoc("ps", "--json").out)["instances"][0]
    assert row["state"] == "running" and row["use"] == "idle"
    shown = json.loads(byoc("why", "--json").out)
    assert shown["run"]["status"] == "ok" and shown["attempts"][0]["instance_id"] == row["id"]
    assert byoc("logs", shown["run"]["id"]).out == "plain __main__ ['0'] beside\n"
    said = byoc("ssh", row["id"], "--", "sh", "-c", "echo $HOME; exit 4")
    assert said.code == 4 and said.out.strip()


@pytest.fixture
def ticking(byoc: Byoc) -> Iterator[subprocess.Popen[str]]:
    """A run that prints for ever."""
    with byoc.start("run", "ticks.py") as program:
        assert program.stdout is not None
        until(lambda: "tick 1" in program.stdout.readline(), 60)  # type: ignore[union-attr]
        yield program
        program.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_tears_down(number: int, ticking: subprocess.Popen[str], byoc: Byoc) -> None:
    """One signal ends the remote program and gives the instance back; exit code 130."""
    ticking.send_signal(number)
    _, err = ticking.communicate(timeout=60)
    assert ticking.returncode == 130
    assert "cancelled in" in err.splitlines()[-1]
    row = json.loads(byoc("ps", "--json").out)["instances"][0]
    assert row["use"] == "idle"
    listing = byoc("ssh", row["id"], "--", "cat", "/proc/[0-9]*/cmdline").out
    assert "ticks.py" not in listing


def test_a_reader_that_leaves_ends_the_run(byoc: Byoc) -> None:
    """``byoc run ... | head -1`` stops the program, quietly."""
    line = f'"{sys.executable}" -m byoc run --quiet ticks.py | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=byoc.folder,
        env=byoc.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "tick 0\n", "")


def test_a_run_goes_on_in_the_background(byoc: Byoc) -> None:
    """--detach prints the id and returns; logs -f follows; down cancels, and nothing is left."""
    said = byoc("run", "--detach", "ticks.py")
    assert said.code == 0, said.err
    run = said.out.strip()
    with byoc.start("logs", "-f", run) as follower:
        assert follower.stdout is not None
        until(lambda: "tick 3" in follower.stdout.readline(), 60)  # type: ignore[union-attr]
        shown = json.loads(byoc("why", "--json", run).out)["run"]
        assert shown["status"] == "running" and shown["detached"] is True
        assert byoc("down", run).code == 0
        assert follower.wait(60) == 0
    assert json.loads(byoc("why", "--json", run).out)["run"]["status"] == "cancelled"
    until(lambda: not alive(shown["pid"]), 10, "the driver to be gone")


def test_a_background_run_that_cannot_begin(byoc: Byoc) -> None:
    """What keeps it from beginning is said at once, with its exit code, and no id is printed."""
    said = byoc("run", "--detach", "hello.py::nothing")
    assert (said.code, said.out) == (2, "")
    assert "there is no 'nothing'" in said.err


def test_no_keep_ends_the_instance(byoc: Byoc) -> None:
    """With --no-keep nothing is up afterwards."""
    said = byoc("run", "--no-keep", "plain.py", "0")
    assert said.code == 0 and "ended" in said.err.splitlines()[-1]
    assert json.loads(byoc("ps", "--json").out)["instances"] == []
