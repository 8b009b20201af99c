"""tools/check_budgets.py finds what it is there to find, and this repository is within budget."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tools import check_budgets
from tools.house import figures, graph, rules, testing
from tools.house.source import Module, functions, load

LAYERS = """
[[tool.importlinter.contracts]]
type = "layers"
layers = ["cli", "engine", "limits | errors"]
"""


def module(text: str, name: str = "byoc.engine.sample", path: str = "") -> Module:
    """A module of the given name that holds ``text``."""
    return Module(path or name.replace(".", "/") + ".py", name, textwrap.dedent(text))


def breaches(rule: rules.Rule, text: str, name: str = "byoc.engine.sample") -> list[int]:
    """The lines at which ``text`` breaks the rule."""
    return [finding.line for finding in rule(module(text, name))]


def sized(text: str, name: str = "byoc.engine.sample") -> figures.Size:
    """The figures of the first function in ``text``."""
    sample = module(text, name)
    return figures.size(sample, *next(functions(sample)))


def test_lines_are_counted_without_decorators_and_docstring() -> None:
    """A function's length is what it does, from ``def`` to its last line."""
    text = '''
        @decorator
        def f(a):
            """Says.

            More.
            """
            x = 1

            return x
        '''
    assert sized(text).lines == 4


def test_a_wide_public_decorator_counts_its_body_only() -> None:
    """The documented keyword arguments of App.function are no part of its length."""
    names = [f"p{i}=None" for i in range(30)]
    text = "class App:\n def function(\n  self,\n  " + ",\n  ".join(names) + ",\n ):\n  return 1\n"
    size = sized(text, "byoc.sdk.app")
    assert (size.lines, size.parameters) == (1, 0)
    assert sized(text).parameters == 30


def test_parameters_leave_self_out_and_count_stars() -> None:
    """What a caller can pass is counted: positional, keyword-only, and each star once."""
    assert sized("class A:\n def f(self, a, /, b, *args, c, **rest): ...").parameters == 5


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1", 1),
        ("return 1 if a else 2", 2),
        ("if a and b or c:\n  pass", 4),
        ("for x in a:\n  with x:\n   pass", 3),
        ("return [x for x in a if x]", 2),
        ("try:\n  pass\n except ValueError:\n  pass\n except KeyError:\n  pass", 3),
        ("def inner():\n  if a:\n   pass\n return inner", 1),
    ],
)
def test_complexity(body: str, expected: int) -> None:
    """Every branch counts one, and a nested function's branches are its own."""
    assert sized(f"def f(a, b, c):\n {body}\n").complexity == expected


def test_percentiles_and_shares() -> None:
    """The figures of an empty repository are zero, and p90 is not exceeded by nine tenths."""
    assert figures.percentile([], 0.9) == 0
    assert figures.percentile(list(range(1, 11)), 0.9) == 10
    assert figures.percentile([5, 1, 3], 0.5) == 3
    assert figures.part_over([1, 2, 3, 60], 50) == 25


def test_relative_imports_become_absolute() -> None:
    """A relative import names the module that Python would load."""
    inside = module("from ..wire import link\nfrom . import pool\nfrom .pool import Pool\n")
    package = module("from .pool import Pool", "byoc.engine", "byoc/engine/__init__.py")
    assert [target for _, target, _ in graph.imports(inside)] == [
        "byoc.wire.link",
        "byoc.engine.pool",
        "byoc.engine.pool.Pool",
    ]
    assert [target for _, target, _ in graph.imports(package)] == ["byoc.engine.pool.Pool"]


def test_circles_are_found_at_import_time_only() -> None:
    """Modules that import one another are a circle; an import for the type checker is not one."""
    a = module("from . import b", "byoc.x.a")
    b = module("from .c import name", "byoc.x.b")
    c = module("import byoc.x.a", "byoc.x.c")
    late = module("def f():\n from . import a", "byoc.x.c")
    typed = module(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from . import a", "byoc.x.c"
    )
    assert graph.cycles(graph.edges([a, b, c])) == [["byoc.x.a", "byoc.x.b", "byoc.x.c"]]
    assert graph.cycles(graph.edges([a, b, late])) == []
    assert graph.cycles(graph.edges([a, b, typed])) == []
    assert len(graph.in_circles([a, b, c])) == 1


def test_own_imports_inside_functions_are_found() -> None:
    """An own module imported inside a function is late; other modules are not."""
    text = "import os\ndef f():\n import json\n from ..wire import link\n import byoc.errors\n"
    assert [f.line for f in graph.deferred_own([module(text)], "byoc")] == [4, 5]
    assert not graph.deferred_own([module(text, "byoc.runtime_agent.boot")], "byoc")


def test_late_loads_obey_the_floors(tmp_path: Path) -> None:
    """A module named in text from a higher floor is found; one from below, or prose, is not."""
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(LAYERS)
    plan = graph.floors(pyproject)
    assert plan == {"limits": 0, "errors": 0, "engine": 1, "cli": 2}
    engine = module(
        '"""byoc.cli.run"""\nA = "byoc.cli.run:main"\nB = "byoc.limits"\nC = "byoc.toml"'
    )
    others = [module("", "byoc.cli.run"), module("", "byoc.limits")]
    assert [f.line for f in graph.late_upward([engine, *others], plan)] == [2]


def test_cloud_names_are_found_outside_the_providers() -> None:
    """A cloud's name in a string, an identifier or a keyword is found; a docstring is prose."""
    text = """
        '''Runs on aws.'''
        if cloud == "aws":
            gcp_project = use(oci=1)
        socio, awsome = "society", 1
        """
    assert breaches(rules.cloud_names, text) == [3, 4, 4]
    assert not breaches(rules.cloud_names, text, "byoc.providers.aws")


def test_a_documented_constant_may_list_the_clouds() -> None:
    """A constant that has a reason to name clouds is allowed where it is registered."""
    text = '_SECRET_DIRS: tuple[str, ...] = (".aws", ".oci")\nOTHER = ("aws",)\n'
    assert breaches(rules.cloud_names, text, "byoc.images.selection") == [2]


def test_clock_and_randomness_come_in_through_constructors() -> None:
    """Reading time, sleeping, or drawing random numbers is found; formatting a time is not."""
    text = """
        import time, random
        from time import sleep
        from datetime import datetime
        a = time.monotonic()
        b = datetime.now()
        c = time.strftime("%H", time.gmtime(5))
        d = time.strftime("%H")
        e = event.wait(timeout=1)
        """
    assert sorted(breaches(rules.direct_clock, text)) == [2, 3, 5, 6, 8]
    for free in ("byoc.clock", "byoc.runtime_agent.x", "byoc.providers.local.machine.guardian"):
        assert not breaches(rules.direct_clock, text, free)


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("byoc.cli.view", "import rich.live", [1]),
        ("byoc.cli.console_live", "import rich.live", []),
        ("byoc.sdk.app", "def f():\n import typer", [2]),
        ("byoc.cli.options", "from typer import Option", []),
        ("byoc.fleet.boot", "import boto3", [1]),
        ("byoc.providers.aws.ec2", "import boto3\nimport oci", [2]),
        ("byoc.fleet.boot", "import sqlite3", [1]),
    ],
)
def test_libraries_have_one_owner(name: str, text: str, lines: list[int]) -> None:
    """A library imported outside the room that owns it is found, also inside a function."""
    assert breaches(rules.owned_libraries, text, name) == lines


def test_what_travels_uses_the_standard_library_only() -> None:
    """What runs on an instance imports Python's own modules, byoc's and cloudpickle."""
    text = "import json\nimport cloudpickle\nfrom byoc import limits\nimport requests\n"
    assert breaches(rules.standard_library_only, text, "byoc.runtime_agent.x") == [4]
    assert not breaches(rules.standard_library_only, text)


def test_imports_by_a_computed_name_have_their_places() -> None:
    """``import_module`` outside the registered modules would hide an edge."""
    text = "import importlib\nx = importlib.import_module(name)\ny = __import__(name)\n"
    assert breaches(rules.dynamic_imports, text) == [2, 3]
    plain = "x = importlib.import_module('tomli')\n\ny = importlib.import_module('rich')\n"
    assert breaches(rules.dynamic_imports, plain) == [3]
    assert not breaches(rules.dynamic_imports, text, "byoc._lazy")


@pytest.mark.parametrize(
    ("handler", "blind", "unexplained"),
    [
        ("except Exception:\n pass", 1, 1),
        ("except Exception:  # noqa: BLE001\n pass", 1, 1),
        ("except Exception:  # noqa: BLE001 - a user's hook may raise anything\n pass", 1, 0),
        ("except (ValueError, BaseException):  # the last resort\n pass", 1, 0),
        ("except:\n pass", 1, 1),
        ("except BaseException:\n undo()\n raise", 0, 0),
        ("except ValueError:\n pass", 0, 0),
    ],
)
def test_blind_handlers_say_why(handler: str, blind: int, unexplained: int) -> None:
    """Swallowing any exception needs a reason on its line; raising it again needs none."""
    text = f"try:\n work()\n{handler}\n"
    assert len(list(rules.blind_handlers(module(text)))) == blind
    assert len(breaches(rules.unexplained_handlers, text)) == unexplained


def test_stubs_are_found() -> None:
    """A function that only pretends is found; a protocol's method and an overload are not."""
    text = """
        class Shape(Protocol):
            def area(self): ...
        @overload
        def f(a): ...
        def g():
            raise NotImplementedError
        def h():
            pass
        def silent():
            '''Dropped.'''
        """
    assert breaches(rules.stubs, text) == [7, 8]


def test_leftovers_and_blind_trust_are_found() -> None:
    """A note of work left over, and a setting that trusts unknown hosts, are found."""
    left, trust = "# TO" + "DO later", "ssh.Auto" + "AddPolicy()"
    assert breaches(rules.debts, f"x = 1  {left}\n{trust}\ntodo = 2\n") == [1, 2]


TESTS = """
    import time, asyncio

    def check_it(x):
        assert x

    def test_good():
        '''Holds.'''
        check_it(1)

    def test_bare():
        x = 1

    def test_true():
        '''Always.'''
        assert True

    def test_slow():
        '''Waits.'''
        time.sleep(1)
        assert asyncio.sleep(0)

    class TestMore:
        def test_raises(self):
            '''Raises.'''
            with pytest.raises(ValueError):
                f()
    """


def test_the_rules_for_tests() -> None:
    """A test sleeps, has no docstring, or cannot fail: each is found, and only there."""
    sample = module(TESTS, "tests.test_x", "tests/test_x.py")
    assert testing.count([sample]) == 5
    assert [f.line for f in testing.sleeps(sample)] == [20]
    assert [f.line for f in testing.undescribed(sample)] == [11]
    assert [f.line for f in testing.cannot_fail(sample)] == [11, 14]


def test_only_the_waiting_helper_may_sleep() -> None:
    """``until`` sleeps for all tests, and programs that tests run may take their time."""
    for path in ("tests/helpers.py", "tests/e2e/programs/slow.py"):
        assert not list(testing.sleeps(module("import time\ntime.sleep(1)", "tests.x", path)))


def write(root: Path, name: str, text: str) -> None:
    """A file of a small repository."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def test_a_breach_fails_the_check_and_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past a hard stop the exit code is 1 and the place is printed; missing a target is fine."""
    write(tmp_path, "pyproject.toml", LAYERS)
    write(tmp_path, "src/byoc/engine/a.py", "def f():\n    return 1\n")
    write(tmp_path, "tests/test_a.py", "def test_a():\n    '''Holds.'''\n    assert f() == 1\n")
    assert check_budgets.main([str(tmp_path)]) == 0
    write(tmp_path, "src/byoc/engine/b.py", "def g():\n" + "    x = 1\n" * 60)
    write(tmp_path, "src/byoc/engine/c.py", "def g(:\n")
    capsys.readouterr()
    assert check_budgets.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "src/byoc/engine/b.py:1: g has 61 lines" in printed
    assert "src/byoc/engine/c.py:1:" in printed


def test_every_exemption_is_still_needed() -> None:
    """An exemption from a rule names a module, and a function or constant in it, that exists."""
    modules = {module.name: module for module in load(ROOT, "src/byoc", "byoc")}
    assert {*rules.DYNAMIC_IMPORT, *graph.LATE} <= set(modules)
    for name, function in figures.WIDE:
        assert function in dict(functions(modules[name]))
    for name, constant in rules.CLOUD_CONSTANTS:
        assert f"\n{constant}" in modules[name].text
    for module in rules.DYNAMIC_IMPORT:
        assert "import_module(" in modules[module].text


def test_this_repository_is_within_its_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    """Every hard stop holds for byoc itself."""
    code = check_budgets.main([str(ROOT)])
    assert code == 0, capsys.readouterr().out
