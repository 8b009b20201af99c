"""Hooks of a preemption as they are declared: what is taken, what is refused, where it is kept."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import byoc
from byoc.errors import ArgumentError, InvalidError
from byoc.sdk import hooks, marks, preemption

NOTICE = byoc.Preemption(30.0, 2_000_000_000.0, "i-1", "aws")


def one(given: byoc.Preemption) -> Any:
    """Takes what there is to know."""
    return given


def none() -> str:
    """Wants to know nothing."""
    return "called"


def with_default(given: Any = None, more: int = 1) -> Any:
    """May be called either way."""
    return given


@pytest.mark.parametrize(
    ("hook", "result"),
    [
        (one, NOTICE),
        (none, "called"),
        (with_default, NOTICE),
        (lambda *given: given, (NOTICE,)),
        (functools.partial(lambda more, given: given, 1), NOTICE),
        (threading.Event().set, None),
        (print, None),
    ],
)
def test_hooks_are_called_with_what_they_take(
    hook: Callable[..., Any], result: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a Preemption where they have a place for it, else with nothing; builtins too."""
    checked = preemption.check("@app.function on f", hook)
    assert checked is hook
    assert preemption.adapted(hook)(NOTICE) == result
    capsys.readouterr()


def hooked() -> None:
    """A function with a hook."""


def keyword_only(*, given: Any) -> None:
    """Cannot be called without its name."""


@pytest.mark.parametrize("hook", [lambda one, two: None, keyword_only, "f", 3])
def test_what_cannot_be_called_so_is_refused(hook: Any) -> None:
    """Where it is written, in words."""
    app = byoc.App("app")
    with pytest.raises(InvalidError, match="on_preempt"):
        app.function(on_preempt=hook)(none)


def test_a_function_keeps_its_hook_in_every_variant() -> None:
    """The spec has it, the plain function carries it, and with_options changes nothing of it."""
    app = byoc.App("app")

    function = app.function(on_preempt=one)(hooked)
    assert function.spec.on_preempt is one
    assert marks.preempt_of(hooked) is one
    assert function.with_options(timeout=5).spec.on_preempt is one
    assert app.function(name="g")(none).spec.on_preempt is None


def test_a_class_decorates_methods() -> None:
    """Hooks of base classes run first, each as it takes it; a wrong one is refused."""
    seen: list[str] = []

    class Base:
        @byoc.on_preempt()
        def first(self) -> None:
            seen.append("first")

    class Model(Base):
        @byoc.on_preempt()
        def second(self, given: byoc.Preemption) -> None:
            seen.append(given.instance_id)

    hooks.check(Model)
    for hook in hooks.preempt(Model()):
        hook(NOTICE)
    assert seen == ["first", "i-1"]

    class Wrong:
        @byoc.on_preempt()
        def hook(self, one: int, two: int) -> None:
            pass

    with pytest.raises(InvalidError, match=r"Wrong\.hook takes one argument at most"):
        byoc.App("app").cls()(Wrong)
    with pytest.raises(ArgumentError):
        byoc.App("app").cls(on_preempt=one)  # type: ignore[call-arg]


def test_what_is_left_goes_down_to_nothing() -> None:
    """Seconds from now, and never less than none."""
    soon = byoc.Preemption(30.0, time.time() + 30.0, "i-1", "gcp")
    assert 20.0 < soon.left <= 30.0
    assert soon._replace(deadline=time.time() - 5.0).left == 0.0
