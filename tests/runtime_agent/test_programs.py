"""Programs as containers: exit codes, stdin, signals, output, and what cannot be started."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest

from tests.helpers import alive, until
from tests.runtime_agent.machine import PATIENCE, Client, Machine

MB = 1024 * 1024


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_codes_come_back(client: Client, code: int) -> None:
    """A program's exit code is its last word."""
    word = client.command("sh", "-c", f"exit {code}").wait()
    assert (word["reason"], word["code"], word["signal"]) == ("exit", code, None)


def test_signals_come_back(client: Client) -> None:
    """A program that a signal ended says which."""
    word = client.command("sh", "-c", "kill -USR1 $$").wait()
    assert (word["reason"], word["code"], word["signal"]) == ("signal", None, signal.SIGUSR1)


def test_stdin_reaches_it_and_ends(client: Client) -> None:
    """A program reads what the client writes, and its end."""
    program = client.command("wc", "-c")
    for _ in range(100):
        program.write(b"x" * 100_000)
    program.close()
    assert program.wait()["code"] == 0
    client.flush()
    assert program.out().strip() == b"10000000"


def test_stdin_that_nobody_reads(client: Client) -> None:
    """A program that ends or closes its stdin early leaves no bytes behind that block others."""
    deaf = client.command("sh", "-c", "exec <&-; echo closed; sleep 0.1; exit 4")
    deaf.write(bytes(10 * MB))
    head = client.command("head", "-c", "5")
    head.write(b"12345" + bytes(10 * MB))
    echo = client.command("cat")
    echo.write(b"through")
    echo.close()
    assert deaf.wait()["code"] == 4
    assert head.wait()["code"] == 0
    assert echo.wait()["code"] == 0
    client.flush()
    assert (head.out(), echo.out()) == (b"12345", b"through")


def test_the_environment_is_the_sessions_and_the_calls(client: Client) -> None:
    """Variables of the call lie over those of the machine; those of the SSH session are gone."""
    program = client.command("env", vars={"COLOUR": "red", "PATH": os.environ["PATH"]})
    program.wait()
    client.flush()
    lines = program.out().decode().splitlines()
    assert "COLOUR=red" in lines
    assert f"HOME={client.machine.home}" in lines
    assert not [line for line in lines if line.startswith("SSH_")]


def test_signals_work_as_in_a_shell(client: Client) -> None:
    """A pipe whose reader is gone ends the writer, as it does at home."""
    program = client.command("sh", "-c", "yes | head -1; echo ${PIPESTATUS:-done}")
    assert program.wait()["code"] == 0
    client.flush()
    assert program.out().startswith(b"y\n")


@pytest.mark.parametrize(
    ("argv", "options", "text"),
    [
        (["no-such-program"], {}, "No such file"),
        (["/"], {}, "Permission denied"),
        (["tru\0e"], {}, "null"),
        ([], {}, ""),
        (["true"], {"cwd": "/dev/null/x"}, "Not a directory"),
        (["true"], {"vars": {"A": 5}}, "str"),
        (["true"], {"argv": None}, "NoneType"),
    ],
)
def test_what_cannot_start_says_why(
    client: Client, argv: list[str], options: dict[str, Any], text: str
) -> None:
    """A program that cannot be started has a last word with the reason; nothing else happens."""
    word = client.command(*argv, **options).wait()
    assert (word["reason"], word["code"]) == ("start", 127)
    assert text in word["detail"]
    assert word["detail"]
    assert client.command("true").wait()["code"] == 0


def test_a_timeout_ends_the_whole_program(client: Client) -> None:
    """After its time a program is killed with all that it started."""
    program = client.command("sh", "-c", "sleep 1000 & echo $!; wait", timeout=0.3)
    assert program.wait()["reason"] == "timeout"
    client.flush()
    until(lambda: not alive(int(program.out())), PATIENCE)


def test_a_program_is_asked_first(client: Client) -> None:
    """With a grace a program may end itself on SIGTERM; its own exit code is kept."""
    script = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done"
    program = client.command("sh", "-c", script)
    client.until(program.out, "it to be up")
    program.kill(grace=20)
    word = program.wait()
    assert (word["reason"], word["code"]) == ("stopped", 9)
    client.flush()
    assert program.out() == b"up\nbye\n"


def test_background_programs_end_with_the_first(client: Client) -> None:
    """What a program left running in the background is killed when it ends."""
    program = client.command("sh", "-c", "sleep 1000 & echo $!")
    assert program.wait()["code"] == 0
    client.flush()
    until(lambda: not alive(int(program.out())), PATIENCE)


def test_output_in_both_streams_is_whole(client: Client) -> None:
    """Two pipes written by turns arrive apart, each in order."""
    script = (
        "import os\n"
        "for i in range(2000):\n"
        "    os.write(1, b'%d\\n' % i)\n"
        "    os.write(2, b'%d\\n' % -i)\n"
    )
    program = client.command(sys.executable, "-c", script)
    program.wait()
    client.flush()
    assert program.out(1) == b"".join(b"%d\n" % i for i in range(2000))
    assert program.out(2) == b"".join(b"%d\n" % -i for i in range(2000))


def test_too_many_open_files_fail_one_start_each(fresh: Machine) -> None:
    """An agent that has no descriptors left refuses in words, and serves on what it has."""
    fresh.shell = "ulimit -n 48; "
    client = fresh.client()
    programs = [client.command("cat") for _ in range(20)]
    client.until(lambda: any(p.word for p in programs), "the first refusal")
    refused = [p for p in programs if p.word]
    assert {p.word["reason"] for p in refused if p.word} == {"start"}
    kept = [p for p in programs if p not in refused]
    for program in kept:
        program.write(b"still here")
        program.close()
    client.until(lambda: all(p.word for p in programs))
    client.flush()
    assert {p.out() for p in kept if p.word and p.word["reason"] == "exit"} == {b"still here"}
    assert len([p for p in programs if p.word and p.word["reason"] == "exit"]) >= 5
    assert client.command("true").wait()["code"] == 0
