"""Which module imports which, and when."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from .source import SCOPE, Finding, Module, docstrings, dotted

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Edges = dict[str, set[str]]
LATE = frozenset({"byoc.runtime_agent.boot"})
"""Modules that may import byoc late: the agent's first lines run before byoc can be found."""
OWN_NAME = re.compile(r"(byoc(?:\.\w+)+)(?::\w+)?")
"""A module of byoc, and perhaps a name in it, as text: how it is loaded by a computed name."""


def imports(module: Module) -> Iterator[tuple[ast.stmt, str, bool]]:
    """``(statement, target, deferred)`` of each import.

    ``target`` is absolute; ``from x import y`` gives ``x.y``. ``deferred``: inside a function.
    Imports for type checkers only are left out.
    """

    def walk(node: ast.AST, deferred: bool) -> Iterator[tuple[ast.stmt, str, bool]]:
        for child in _run_time_children(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child, alias.name, deferred
            elif isinstance(child, ast.ImportFrom):
                base = absolute(module, child)
                for alias in child.names:
                    yield child, f"{base}.{alias.name}", deferred
            else:
                yield from walk(child, deferred or isinstance(child, SCOPE))

    return walk(module.tree, False)


def _run_time_children(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"):
        return list(node.orelse)
    return list(ast.iter_child_nodes(node))


def absolute(module: Module, node: ast.ImportFrom) -> str:
    """The absolute name of the module that a ``from`` statement imports from."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    keep = len(parts) - node.level + (1 if module.is_package else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def edges(modules: list[Module]) -> Edges:
    """What each module imports of the others while it is being imported itself."""
    known = {module.name for module in modules}
    graph: Edges = {name: set() for name in known}
    for module in modules:
        for _, target, deferred in imports(module):
            found = _longest(target, known)
            if found and not deferred and found != module.name:
                graph[module.name].add(found)
    return graph


def _longest(target: str, known: set[str]) -> str:
    while target and target not in known:
        target = target.rpartition(".")[0]
    return target


def cycles(graph: Edges) -> list[list[str]]:
    """Groups of modules that import one another in a circle (strongly connected components)."""
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {
        tuple(sorted({name, *(other for other in reach[name] if name in reach[other])}))
        for name in graph
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(graph: Edges, start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for target in graph[todo.pop()] - seen:
            seen.add(target)
            todo.append(target)
    return seen


def deferred_own(modules: list[Module], package: str) -> list[Finding]:
    """Imports of the package's own modules inside functions."""
    return [
        module.finding(node, f"imports {target} inside a function")
        for module in modules
        if module.name not in LATE
        for node, target, deferred in imports(module)
        if deferred and (target + ".").startswith(package + ".")
    ]


def in_circles(modules: list[Module]) -> list[Finding]:
    """One finding per circle of imports."""
    paths = {module.name: module.path for module in modules}
    return [
        Finding(paths[group[0]], 1, "imports in a circle: " + ", ".join(group))
        for group in cycles(edges(modules))
    ]


def floors(pyproject: Path) -> dict[str, int]:
    """The floor of each room, 0 the lowest, from the layer contract in pyproject.toml."""
    tool = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]
    layers = next(c["layers"] for c in tool["importlinter"]["contracts"] if c["type"] == "layers")
    return {
        room: floor
        for floor, layer in enumerate(reversed(layers))
        for room in re.split(r"\s*[|:]\s*", layer)
    }


def late_upward(modules: list[Module], plan: dict[str, int]) -> list[Finding]:
    """Modules named in text, to be loaded when used, that stand on a higher floor.

    The layer contract cannot see these; they obey the same plan.
    """
    known = {module.name for module in modules}
    found = []
    for module in modules:
        own = plan.get(_room(module.name))
        if own is None:
            continue
        for node, target in _named(module):
            if target in known and plan.get(_room(target), 0) > own:
                found.append(module.finding(node, f"loads {target} from a higher floor"))
    return found


def _named(module: Module) -> Iterator[tuple[ast.AST, str]]:
    prose = docstrings(module)
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            match = OWN_NAME.fullmatch(node.value)
            if match:
                yield node, match.group(1)


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""
