"""Source files as the checks see them."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPE = (*FUNCTION, ast.Lambda)


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule. ``path`` is relative to the repository."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Module:
    """One Python file: its path in the repository, its dotted name, and its text."""

    path: str
    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file. Raises SyntaxError."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree; most rules look at all of them."""
        return list(ast.walk(self.tree))

    @cached_property
    def comments(self) -> dict[int, str]:
        """The comment of each line that has one, without the ``#``."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {
            token.start[0]: token.string.lstrip("# ")
            for token in tokens
            if token.type == tokenize.COMMENT
        }

    @property
    def room(self) -> str:
        """The room the module is in: ``cli``, ``providers/local``, or the module's own name."""
        parts = self.name.split(".")[1:]
        if not parts:
            return ""
        return "/".join(parts[:2]) if parts[0] == "providers" else parts[0]

    @property
    def is_package(self) -> bool:
        """Whether the file is an ``__init__``."""
        return self.path.endswith("__init__.py")

    def finding(self, node: ast.AST, message: str) -> Finding:
        """A finding at ``node``."""
        return Finding(self.path, getattr(node, "lineno", 1), message)


def load(root: Path, folder: str, package: str) -> list[Module]:
    """Every Python file under ``root/folder``, named as modules of ``package``."""
    base = root / folder
    return [
        Module(str(path.relative_to(root)), _name(path.relative_to(base), package), _read(path))
        for path in sorted(base.rglob("*.py"))
    ]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _name(path: Path, package: str) -> str:
    parts = [package, *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(module: Module) -> Iterator[tuple[str, Function]]:
    """Every function of a module with its qualified name, nested ones included."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTION):
                yield prefix + child.name, child
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            else:
                yield from walk(child, prefix)

    return walk(module.tree, "")


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of functions nested in it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, FUNCTION):
            todo.extend(ast.iter_child_nodes(node))


def docstring(node: ast.AST) -> ast.Constant | None:
    """The docstring's node of a module, class or function."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    value = first.value if isinstance(first, ast.Expr) else None
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return value if is_text and isinstance(value, ast.Constant) else None


def docstrings(module: Module) -> set[int]:
    """Ids of every bare string statement: docstrings, and those that describe a constant."""
    return {
        id(node.value)
        for node in module.nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of an attribute chain; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""
