"""Programs that cannot work: each is told what is wrong with it before anything is rented."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import e2e_calls
import pytest

import byoc
from byoc import exception
from tests.e2e.conftest import PROGRAMS, another_python


def nothing_launched(home: Path) -> bool:
    """Neither an instance nor an intent to rent one was ever there."""
    return not list((home / "local").glob("local-*")) and not list((home / "locks").glob("*"))


def plain(x: int = 1) -> int:
    """A function for decorators."""
    return x


WRONG_DECLARATIONS: list[tuple[str, Callable[[byoc.App], Any], type[Exception], str]] = [
    ("a class", lambda app: app.function()(type("C", (), {})), TypeError, "cannot decorate"),
    ("no parentheses", lambda app: app.function(plain), TypeError, "parentheses"),
    ("no function", lambda app: app.function()(3), TypeError, "decorates a function"),
    ("twice", lambda app: app.function()(app.function()(plain)), byoc.exception.Error, "twice"),
    ("unknown", lambda app: app.function(gpus=1)(plain), TypeError, "gpus"),
    ("lambda", lambda app: app.function()(lambda: 1), exception.InvalidError, "top"),
    ("cpu", lambda app: app.function(cpu=-1)(plain), exception.InvalidError, "cpu"),
    ("cpu type", lambda app: app.function(cpu="2")(plain), exception.InvalidError, "cpu"),
    ("memory", lambda app: app.function(memory=0.5)(plain), exception.InvalidError, "memory"),
    ("timeout", lambda app: app.function(timeout=0)(plain), exception.InvalidError, "timeout"),
    ("retries", lambda app: app.function(retries=-1)(plain), exception.InvalidError, "retries"),
    ("gpu", lambda app: app.function(gpu="H100:0")(plain), exception.InvalidError, "H100:0"),
    ("name", lambda app: app.function(name="a b")(plain), exception.InvalidError, "name"),
    ("image", lambda app: app.function(image="x")(plain), exception.InvalidError, "image"),
    ("secrets", lambda app: app.function(secrets=["x"])(plain), exception.InvalidError, "Secret"),
    ("env", lambda app: app.function(env={"A": 1})(plain), exception.InvalidError, "strings"),
    ("flag", lambda app: app.function(serialized=1)(plain), exception.InvalidError, "serialized"),
    (
        "containers",
        lambda app: app.function(min_containers=3, max_containers=2)(plain),
        exception.InvalidError,
        "min_containers",
    ),
    ("later", lambda app: app.function(volumes={"/v": 1})(plain), exception.NotYetError, "volumes"),
    ("schedule", lambda app: app.function(schedule=1)(plain), exception.NotYetError, "schedule"),
]


@pytest.mark.parametrize("case", WRONG_DECLARATIONS, ids=[case[0] for case in WRONG_DECLARATIONS])
def test_wrong_declarations(
    byoc_home: Path, case: tuple[str, Callable[[byoc.App], Any], type[Exception], str]
) -> None:
    """A wrong parameter is refused where it is written, by its name."""
    _, declare, error, names = case
    with pytest.raises(error, match=names):
        declare(byoc.App("wrong"))
    assert nothing_launched(byoc_home)


def test_calls_outside_a_run(byoc_home: Path) -> None:
    """Without a run a call says how to start one, and a function is not called like a plain one."""
    for call in (
        lambda: e2e_calls.add.remote(1),
        lambda: e2e_calls.add.spawn(1),
        lambda: list(e2e_calls.add.map([1])),
        lambda: list(e2e_calls.steps.remote_gen(1)),
    ):
        with pytest.raises(exception.ExecutionError, match="not running") as caught:
            call()
        assert any("app.run()" in hint for hint in caught.value.hints)
    with pytest.raises(TypeError, match="not callable"):
        e2e_calls.add(1)
    assert nothing_launched(byoc_home)


def test_wrong_calls(byoc_home: Path) -> None:
    """A call that cannot work is refused before anything is launched for it."""
    with e2e_calls.app.run():
        for wrong, error in (
            (lambda: e2e_calls.add.map(3), TypeError),
            (e2e_calls.add.map, TypeError),
            (lambda: e2e_calls.add.starmap(3), TypeError),
            (lambda: e2e_calls.steps.remote(3), exception.InvalidError),
            (lambda: e2e_calls.steps.map([3]), exception.InvalidError),
            (lambda: e2e_calls.add.remote_gen(3), exception.InvalidError),
            (lambda: e2e_calls.echo.remote(threading.Lock()), exception.SerializationError),
            (lambda: list(e2e_calls.echo.map([threading.Lock()])), exception.SerializationError),
            (e2e_calls.app.run, exception.InvalidError),
        ):
            with pytest.raises(error):
                wrong()
    assert nothing_launched(byoc_home)


def _unreachable_image() -> byoc.Image:
    return byoc.Image.debian_slim().add_local_dir(PROGRAMS / "no-such-folder", "/root/x")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"image": _unreachable_image()}, exception.InvalidError, "no-such-folder"),
        ({"gpu": "H100:8"}, exception.PlacementError, "H100"),
        ({"cpu": 1000}, exception.PlacementError, "1000"),
        ({"cloud": "nowhere"}, exception.PlacementError, "nowhere"),
    ],
)
def test_wrong_wishes(
    byoc_home: Path, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    """What cannot be had, or is not there, is said at the first call, and nothing is launched."""
    app = byoc.App("wishes")
    f = app.function(serialized=True, **options)(plain)
    with app.run(), pytest.raises(error, match=says):
        f.remote()
    assert nothing_launched(byoc_home)


def test_pickled_function_foranother_python(byoc_home: Path) -> None:
    """A pickled function that its image's Python could not load is refused at once."""
    app = byoc.App("other", image=byoc.Image.debian_slim(another_python()))
    with pytest.raises(exception.ExecutionError, match="same Python"):
        app.function(serialized=True)(plain)
    assert nothing_launched(byoc_home)


def test_function_that_cannot_be_pickled(byoc_home: Path) -> None:
    """A closure over something that cannot travel is refused before anything is launched."""
    app = byoc.App("closure")
    lock = threading.Lock()

    @app.function(serialized=True)
    def locked() -> bool:
        return lock.locked()

    with app.run(), pytest.raises(exception.SerializationError, match="cannot be pickled"):
        locked.remote()
    assert nothing_launched(byoc_home)
