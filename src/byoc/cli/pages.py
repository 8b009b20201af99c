"""Lines for people that fit the page: rows with a remark beside or below each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from .console import Console

_NARROW = 80
"""Columns of a page whose width nobody knows."""
_LEAST = 40


def width() -> int:
    """Columns of the page: the terminal's, or what the caller says in COLUMNS."""
    return max(shutil.get_terminal_size((_NARROW, 24)).columns, _LEAST)


def table(console: Console, rows: Sequence[Sequence[str]], remarks: Sequence[str]) -> None:
    """Columns, the first aligned right, each row with its remark: beside it when all fit, below it
    when they do not, and once at the end when it is the same for all."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    indent = 2 + widths[0] + 2
    room = width() - 2 - sum(widths) - 2 * len(widths)
    same = len(set(remarks)) == 1 and len(rows) > 1
    beside = all(len(remark) <= room for remark in remarks)
    for (first, *rest), remark in zip(rows, remarks, strict=True):
        cells = [cell.ljust(size) for cell, size in zip(rest, widths[1:], strict=True)]
        line = "  ".join([f"  {first.rjust(widths[0])}", *cells])
        console.data((f"{line}  {remark}" if beside and not same else line).rstrip())
        if remark and not beside and not same:
            wrapped(console, remark, indent)
    if same and remarks[0]:
        wrapped(console, f"each: {remarks[0]}", indent)


def wrapped(console: Console, text: str, indent: int) -> None:
    """Text in lines of the page's width, indented."""
    line = ""
    for word in text.split():
        if line and indent + len(line) + 1 + len(word) > width():
            console.data(" " * indent + line)
            line = ""
        line = f"{line} {word}" if line else word
    console.data(" " * indent + line)
