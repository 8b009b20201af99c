"""Sizes of functions and files, counted as the budgets count them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from .source import FUNCTION, Function, Module, docstring, functions, own_nodes

WIDE = frozenset(
    {
        ("byoc.sdk.app", "App.function"),
        ("byoc.sdk.app", "App.cls"),
    }
)
"""Public decorators that mirror the documented keyword arguments one by one. They are exempt from
the limit on parameters, and their length is that of their body; inside they make one options object
at once."""

BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.With,
    ast.AsyncWith,
    ast.comprehension,
    ast.match_case,
)
"""What adds one to a function's complexity, besides each further operand of ``and`` and ``or``."""


@dataclass(frozen=True)
class Size:
    """One function's figures. ``lines``: first to last without decorators and docstring."""

    module: Module
    name: str
    line: int
    lines: int
    complexity: int
    parameters: int


def sizes(modules: list[Module]) -> list[Size]:
    """The figures of every function."""
    return [size(module, name, node) for module in modules for name, node in functions(module)]


def size(module: Module, name: str, node: Function) -> Size:
    """The figures of one function."""
    wide = (module.name, name) in WIDE
    return Size(
        module,
        name,
        node.lineno,
        code_lines(node, body_only=wide),
        complexity(node),
        0 if wide else parameters(node),
    )


def code_lines(node: Function, *, body_only: bool = False) -> int:
    """Lines from ``def`` (or from the body's first statement) to the last, less the docstring."""
    last = node.end_lineno or node.lineno
    doc = docstring(node)
    doc_lines = (doc.end_lineno or doc.lineno) - doc.lineno + 1 if doc else 0
    if not body_only:
        return last - node.lineno + 1 - doc_lines
    body = node.body[1:] if doc else node.body
    return last - body[0].lineno + 1 if body else 0


def complexity(node: Function) -> int:
    """One more than the number of branches; nested functions count for themselves."""
    total = 1
    for inner in own_nodes(node):
        if isinstance(inner, BRANCHES) and not isinstance(inner, FUNCTION):
            total += 1
        elif isinstance(inner, ast.BoolOp):
            total += len(inner.values) - 1
    return total


def parameters(node: Function) -> int:
    """How many parameters a caller sees; ``*args`` and ``**kwargs`` count one each."""
    args = node.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    return len(names) + len(args.kwonlyargs) + bool(args.vararg) + bool(args.kwarg)


def file_lines(module: Module) -> int:
    """All lines of a file."""
    return module.text.count("\n")


def percentile(values: list[int], share: float) -> int:
    """The value that ``share`` of the values do not exceed; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def part_over(values: list[int], limit: int) -> float:
    """The percentage of values above ``limit``."""
    return 100 * sum(value > limit for value in values) / len(values) if values else 0.0
