"""What reaches stdout and stderr, byte for byte, in pipes and on terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from byoc.cli.console import plain

START = """
import sys, os
from byoc.cli.console import Console
"""


def run(body: str, env: dict[str, str], **more: object) -> subprocess.CompletedProcess[bytes]:
    """A process that uses the real console."""
    command = [sys.executable, "-c", START + body]
    return subprocess.run(command, env=env, capture_output=True, check=False, **more)  # type: ignore[call-overload, no-any-return]


def on_terminal(body: str, env: dict[str, str]) -> bytes:
    """What such a process writes to a terminal that is both its stdout and its stderr."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", START + body], env=env, stdin=slave, stdout=slave, stderr=slave
    ) as child:
        os.close(slave)
        found = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux says EIO, not end of file, once the other side is closed
                break
            if not data:
                break
            found += data
        child.wait()
    os.close(master)
    return found.replace(b"\r\n", b"\n")


@pytest.fixture
def terminal_env(shared_env: dict[str, str]) -> dict[str, str]:
    """The environment of a person's terminal."""
    return {**shared_env, "TERM": "xterm-256color", "NO_COLOR": ""}


def test_program_output_is_byte_exact(shared_env: dict[str, str]) -> None:
    """Bytes that are no UTF-8, NULs and missing newlines pass through unchanged."""
    data = bytes(range(256)) * 3
    body = f"c = Console()\nc.write(1, {data!r})\nc.write(2, {data[::-1]!r})"
    done = run(body, shared_env)
    assert done.stdout == data and done.stderr == data[::-1]


def test_order_with_the_programs_own_prints(shared_env: dict[str, str]) -> None:
    """What the user's code prints here keeps its place between remote output, in a pipe too."""
    body = "c = Console()\nfor i in range(3):\n    print('local', i)\n    c.write(1, b'remote\\n')"
    done = run(body, shared_env)
    assert done.stdout == b"".join(b"local %d\nremote\n" % i for i in range(3))


def test_quiet_leaves_errors(shared_env: dict[str, str]) -> None:
    """Quiet drops what byoc does, never errors, hints or data."""
    body = "c = Console(quiet=True)\nc.say('no')\nc.error('e')\nc.hint('h')\nc.data('d')"
    done = run(body, shared_env)
    assert done.stdout == b"d\n" and done.stderr == b"error: e\nhint: h\n"


def test_json_has_stdout_for_itself(shared_env: dict[str, str]) -> None:
    """With JSON, whatever the program prints by whatever means goes to stderr."""
    body = """
c = Console(as_json=True)
print("printed")
os.system("echo from a child")
c.write(1, b"remote\\n")
c.json_object("run", 0, {"name": "\\udcff \\u00fc"})
c.finish()
print("after")
"""
    done = run(body, shared_env)
    first, _, rest = done.stdout.partition(b"\n")
    shown = json.loads(first)
    assert shown["ok"] is True and shown["name"] == "\udcff ü"
    assert rest == b"after\n"
    assert sorted(done.stderr.split(b"\n")) == [b"", b"from a child", b"printed", b"remote"]


def test_records_become_objects() -> None:
    """Data classes, named tuples and paths are shown by their fields and texts."""

    @dataclass
    class Point:
        x: int
        at: Path

    class Pair(NamedTuple):
        first: Point
        rest: tuple[float, ...]

    shown = plain({"pair": Pair(Point(1, Path("/a")), (0.5, float("nan")))})
    assert shown == {"pair": {"first": {"x": 1, "at": "/a"}, "rest": [0.5, None]}}


def test_a_reader_that_leaves_is_no_error(shared_env: dict[str, str]) -> None:
    """A closed pipe is noticed once, told to whoever asked, and never becomes a traceback."""
    body = """
c = Console()
c.on_reader_gone = lambda: c.write(2, b"gone\\n")
for _ in range(3):
    c.write(1, b"x\\n")
c.finish()
sys.exit(7 if c.reader_gone else 0)
"""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", START + body]
    done = subprocess.run(
        command, env=shared_env, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode == 7 and done.stderr == b"gone\n"


def test_closed_streams_are_left_alone(shared_env: dict[str, str]) -> None:
    """A shell's ``>&-`` is respected: no output, no failure."""
    body = "c = Console()\nc.data('x')\nc.say('y')\nc.finish()"
    line = 'exec "$0" -c "$1" >&- 2>&-'
    command = ["sh", "-c", line, sys.executable, START + body]
    assert subprocess.run(command, env=shared_env, check=False).returncode == 0


def test_no_colour_when_not_wanted(terminal_env: dict[str, str]) -> None:
    """Colours on a terminal, none with NO_COLOR, none on a dumb one, and none in a pipe."""
    body = "c = Console()\nc.error('e')"
    assert b"\x1b[" in on_terminal(body, terminal_env)
    for other in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert on_terminal(body, {**terminal_env, **other}) == b"error: e\n"
    assert run(body, terminal_env).stderr == b"error: e\n"
    forced = run(body, {**terminal_env, "FORCE_COLOR": "1"}).stderr
    assert forced != b"error: e\n" and b"e\n" in forced


LIVE = """
import threading
from byoc.cli import console
console.LIVE_AFTER = console.LIVE_EVERY = 0.01
c = Console()
drawn = threading.Event()
def text():
    drawn.set()
    return "working"
c.start_live(text)
"""


def shown_lines(raw: bytes) -> list[str]:
    """The lines that stay on a terminal after erasing and redrawing."""
    found = []
    for line in raw.decode().split("\n"):
        last = re.split(r"\r\x1b\[2K", line)[-1]
        found.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last))
    return found


def test_output_goes_above_the_live_line(terminal_env: dict[str, str]) -> None:
    """The live line never mixes with remote output, byoc's words or the program's own prints."""
    body = """
for i in range(5):
    drawn.clear(); drawn.wait(10)
    c.write(1, b"remote %d\\n" % i)
    drawn.clear(); drawn.wait(10)
    print("local", i)
    drawn.clear(); drawn.wait(10)
    c.say("word")
c.stop_live()
c.say("end")
"""
    raw = on_terminal(LIVE + body, terminal_env)
    expected = [w for i in range(5) for w in (f"remote {i}", f"local {i}", "byoc: word")]
    assert b"working" in raw
    assert shown_lines(raw) == [*expected, "byoc: end", ""]


def test_the_live_line_waits_for_the_end_of_a_line(terminal_env: dict[str, str]) -> None:
    """While the program is in the middle of a line nothing is drawn into it."""
    body = """
drawn.clear(); drawn.wait(10)
c.write(1, b"half")
drawn.clear()
assert not drawn.wait(0.2)
c.write(1, b" and half\\n")
assert drawn.wait(10)
c.write(1, b"no end")
c.stop_live()
c.say("end")
"""
    assert shown_lines(on_terminal(LIVE + body, terminal_env)) == [
        "half and half",
        "no end",
        "byoc: end",
        "",
    ]


@pytest.mark.parametrize("other", [{"CI": "true"}, {"TERM": "dumb"}])
def test_no_live_line_without_a_real_terminal(
    other: dict[str, str], terminal_env: dict[str, str]
) -> None:
    """A CI job and a dumb terminal get plain lines."""
    raw = on_terminal(LIVE + "c.say(str(c.live))\nc.stop_live()", {**terminal_env, **other})
    assert shown_lines(raw) == ["byoc: False", ""]
