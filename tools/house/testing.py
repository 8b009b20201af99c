"""The rules for tests: each names a property, can fail, and waits for conditions, not for time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .rules import Rule
from .source import Finding, Function, Module, docstring, dotted, functions

SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "sleep", "trio.sleep"})
MAY_SLEEP = frozenset({"tests/helpers.py", "tests/relay.py"})
"""Holds ``until``, which every test waits by; and imitates a slow network."""
PROGRAMS = "/programs/"
"""Folders of programs that byoc runs in tests; those may take their time."""
CHECKS = re.compile(r"assert|raises|warns|check|expect|until|gone|compare|fail|snapshot|verify")
"""A call by such a name can fail a test."""
PATCHES = re.compile(r"\b(monkeypatch\.setattr|mock\.patch|Mock\(|MagicMock\(|mocker\.)")


def is_test_file(module: Module) -> bool:
    """Whether pytest collects the file."""
    return module.path.rpartition("/")[2].startswith("test_")


def tests(module: Module) -> Iterator[tuple[str, Function]]:
    """The test functions of a file, those in classes included."""
    if is_test_file(module):
        for name, node in functions(module):
            if node.name.startswith("test"):
                yield name, node


def sleeps(module: Module) -> Iterator[Finding]:
    """A test, or a helper of one, that waits for time to pass."""
    if module.path in MAY_SLEEP or PROGRAMS in module.path:
        return
    for node in module.nodes:
        if isinstance(node, ast.Call) and dotted(node.func) in SLEEPS and not _yields_only(node):
            yield module.finding(node, "sleeps; wait for a condition by tests.helpers.until")


def _yields_only(node: ast.Call) -> bool:
    """``asyncio.sleep(0)`` lets other tasks run and waits for nothing."""
    return bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0


def undescribed(module: Module) -> Iterator[Finding]:
    """A test without a sentence that names the property it holds."""
    for name, node in tests(module):
        if docstring(node) is None:
            yield module.finding(node, f"{name} has no docstring that names its property")


def cannot_fail(module: Module) -> Iterator[Finding]:
    """A test in which nothing could fail: no assertion, and no call that makes one."""
    helpers = {node.name for _, node in functions(module) if _asserts(node)}
    for name, node in tests(module):
        if not _asserts(node) and not _called(node) & helpers:
            yield module.finding(node, f"{name} has nothing that can fail")


def _called(function: Function) -> set[str]:
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return {dotted(call.func).rpartition(".")[2] for call in calls}


def _asserts(function: Function) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            name = dotted(node.func).rpartition(".")[2]
            if CHECKS.search(name) or any(
                word.arg == "check" and _true(word) for word in node.keywords
            ):
                return True
    return False


def _true(word: ast.keyword) -> bool:
    """``subprocess.run(..., check=True)`` fails when the program does."""
    return isinstance(word.value, ast.Constant) and word.value.value is True


def patches(modules: list[Module]) -> int:
    """How often the tests replace a part of the product by something else."""
    return sum(len(PATCHES.findall(module.text)) for module in modules if is_test_file(module))


def count(modules: list[Module]) -> int:
    """How many test functions there are."""
    return sum(1 for module in modules for _ in tests(module))


RULES: dict[str, Rule] = {
    "sleeps in tests": sleeps,
    "tests without a property": undescribed,
    "tests that cannot fail": cannot_fail,
}
"""Name of each rule, as the table shows it, and the function that finds its breaches."""
