"""Classes from a user's program to a real instance and back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_classes
import pytest

import byoc
from tests.e2e.conftest import PROGRAMS
from tests.helpers import until


@pytest.fixture(scope="module")
def c(warm_home: Path) -> Iterator[Any]:
    """The classes of ``e2e_classes``, in one run for the whole module."""
    with e2e_classes.app.run():
        yield e2e_classes


def test_state_lives_in_the_container(c: Any) -> None:
    """Behaviour 6: hooks ran once, base first, snap before all; the next call finds the state."""
    counter = c.Counter(start=5, unit="x", blob=b"\0\xff")
    assert [counter.add.remote(1), counter.add.remote(1)] == [6, 7]
    assert list(counter.add.map([1, 1])) == [8, 9]
    assert list(counter.add.starmap([(1,)])) == [10]
    assert counter.add.spawn().get() == 11
    assert counter.add_later.remote(1) == 12
    assert list(counter.steps.remote_gen(2)) == [13, 14]
    assert list(counter.steps_later.remote_gen(2)) == [15, 16]
    expected = (["base", "counter"], True, "x", b"\0\xff", "sweet", True)
    assert counter.about.remote() == expected
    assert c.Counter(start=5, unit="x", blob=b"\0\xff").add.remote(0) == 16
    assert counter.where.remote() == counter.where.remote()


def test_objects_have_containers_of_their_own(c: Any) -> None:
    """Behaviours 17, 29: for each set of parameters, and for each variant."""
    one, other = c.Counter(start=1), c.Counter(start=2)
    variant = c.Counter.with_options(env={"FLAVOUR": "sour"}, timeout=20)
    pids = {one.where.remote(), other.where.remote(), variant(start=1).where.remote()}
    assert len(pids) == 3
    assert variant(start=1).about.remote()[4] == "sour"
    assert variant(start=1).where.remote() in pids


def test_errors_of_methods_and_hooks(c: Any) -> None:
    """Behaviours 2, 6: a method's exception is the same; one of a hook fails the calls."""
    with pytest.raises(KeyError, match="unit"):
        c.Counter(unit="unit").fails.remote()
    with pytest.raises(OSError, match="no model here"):
        c.NoStart().never.remote()


def test_objects_call_objects(c: Any) -> None:
    """Behaviour 28: from inside a method, as an argument, as a result, in a map."""
    assert c.Counter(start=10).through_another.remote(1) == (101, 10, 10)
    (n, inner), outer = c.Self().outer.remote(3)
    assert n == 3
    assert inner != outer
    counter = c.Counter(start=20)
    assert c.uses.remote(counter, 2) == 22
    assert counter.add.remote(0) == 22
    assert c.makes.remote(20).add.remote(0) == 22
    assert c.maps.remote(3) == [1000] * 3


def test_inputs_of_an_object_run_together(c: Any) -> None:
    """Behaviours 19, 29: @concurrent on a class, @batched on a method."""
    rows = list(c.Together().meet.map(range(4)))
    assert [row[0] for row in rows] == [0, 1, 2, 3]
    assert len({row[1] for row in rows}) == 4
    squares = list(c.Batches().squares.map(range(8)))
    assert [row[0] for row in squares] == [n * n for n in range(8)]
    assert max(row[1] for row in squares) > 1


def test_exit_hooks_run(c: Any, shared: Path) -> None:
    """Behaviours 6, 27: an async exit hook runs when the idle container leaves."""
    ends = c.Ends(folder=str(shared))
    pid = ends.touch.remote()
    left = shared / "left"
    until(lambda: left.exists() and left.read_text() == str(pid), 30)


def test_exit_hooks_run_at_the_end_of_the_run(shared: Path) -> None:
    """Behaviour 6: and when the run is over."""
    code = f"""
import byoc, sys
sys.path.insert(0, {str(PROGRAMS)!r})
import e2e_classes as c
with c.app.run():
    print(c.Ends(folder={str(shared)!r}).touch.remote())
"""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert (shared / "left").read_text() == done.stdout.strip()


def test_async_calls_of_objects(c: Any) -> None:
    """Behaviour 18: everything of an object can be awaited."""

    async def go() -> list[Any]:
        counter = c.Counter(start=50)
        return [
            await counter.add.remote.aio(1),
            [n async for n in counter.add.map.aio([1, 1])],
            [n async for n in counter.steps.remote_gen.aio(2)],
            await (await counter.add.spawn.aio(1)).get.aio(),
        ]

    assert asyncio.run(go()) == [51, [52, 53], [54, 55], 56]


def test_pickled_classes(warm_home: Path) -> None:
    """Behaviour 30: serialized classes travel whole: hooks, parameters, closures, own calls."""
    app = byoc.App("pickled")
    step = 3

    class Above:
        @byoc.enter()
        def zero(self) -> None:
            self.value = 0

    @app.cls(serialized=True)
    class Local(Above):
        start: int = byoc.parameter()

        @byoc.enter()
        def begin(self) -> None:
            self.value += self.start

        @byoc.method()
        def add(self) -> int:
            self.value += step
            return self.value

        @byoc.method()
        def twice(self) -> int:
            self.add()
            return self.add()

        @byoc.method()
        def other(self) -> int:
            return Local(start=70).add.remote()

    with app.run():
        local = Local(start=10)
        assert [local.add.remote(), local.twice.remote()] == [13, 19]
        assert local.other.remote() == 73
    assert Local(start=1).add.local() == 4


SCRIPT = '''
import sys
import byoc

app = byoc.App("script")

class Pair:
    def __init__(self, a): self.a = a

@app.cls()
class Model:
    """Help of the class."""
    size: int = byoc.parameter(default=2)

    @byoc.method()
    def mul(self, x: int, label: str = "none"):
        """Help of the method."""
        print("mul", self.size, x, label)
        return f"{self.size * x} {label}"

    @byoc.method()
    def pair(self):
        return Pair(self.size)

if __name__ == "__main__":
    with app.run():
        model = Model(size=4)
        print(model.mul.remote(3), isinstance(model.pair.remote(), Pair))
'''


@pytest.fixture
def script(warm_home: Path, tmp_path: Path) -> Path:
    """A program with one class."""
    path = tmp_path / "model.py"
    path.write_text(SCRIPT)
    return path


def test_a_class_of_a_script(script: Path) -> None:
    """Behaviours 4, 17: classes of ``python model.py`` keep their types on both sides."""
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "12 none True\n"), done.stderr


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """``byoc run`` with these arguments."""
    argv = [sys.executable, "-m", "byoc", "run", "--quiet", *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_methods_from_the_command_line(script: Path, tmp_path: Path) -> None:
    """Behaviour 11: constructor and method options side by side; a text goes into a file."""
    out = tmp_path / "result.txt"
    done = run("-w", out, f"{script}::Model.mul", "--size", "5", "--x", "3", "--label", "a b")
    assert (done.returncode, done.stdout) == (0, "mul 5 3 a b\n"), done.stderr
    assert out.read_text() == "15 a b"
    assert run(f"{script}::app.Model.mul", "--x", "3").stdout == "mul 2 3 none\n"


def test_help_and_wrong_use_of_methods(script: Path) -> None:
    """Behaviour 11: --help shows both, a missing option or a choice left open exits with 2."""
    shown = run(f"{script}::Model.mul", "--help").stdout
    assert "--size" in shown
    assert "--label" in shown
    assert "Help of the method." in shown
    assert run(f"{script}::Model.mul", "--size", "5").returncode == 2
    several = run(script)
    assert several.returncode == 2
    assert "Model.mul" in several.stderr
    wrong = run("-w", "/no/such/folder/x", f"{script}::Model.mul", "--x", "1")
    assert wrong.returncode == 2
