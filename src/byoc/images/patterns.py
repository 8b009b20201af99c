"""Ignore patterns in ``.dockerignore`` syntax.

One pattern a line; ``#`` starts a comment line. Patterns are anchored at the folder they are given
for: ``*.log`` is about that folder only, ``**/*.log`` about every level. ``*`` and ``?`` stay
within one path component, ``**`` spans any number of them, ``[a-z]`` is a character class, a
backslash takes the next character literally. A pattern that matches a folder covers all below it.
``!pattern`` brings files back; the last pattern that matches decides.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Callable, Sequence, Tuple, Union

from ..errors import InvalidError, NotFoundError

Ignore = Union[Sequence[str], Callable[[Path], bool]]
"""What ``ignore=`` takes: patterns, or a function of a path relative to the folder added."""


class FilePatternMatcher:
    """A set of patterns; call it with a relative path: True when the path is ignored.

    ``~matcher`` ignores what ``matcher`` does not. Raises :class:`InvalidError` for a pattern that
    is no string or has an unclosed ``[``.
    """

    def __init__(self, *patterns: str) -> None:
        rules = []
        for pattern in patterns:
            if not isinstance(pattern, str):
                raise InvalidError(f"an ignore pattern must be a string, not {pattern!r}")
            rule = _parse(pattern)
            if rule is not None:
                rules.append(rule)
        self.patterns = tuple(patterns)
        self._rules = tuple(rules)

    @classmethod
    def from_file(cls, file_path: str | Path) -> FilePatternMatcher:
        """The patterns of a file, one a line. Raises :class:`NotFoundError` when it is missing."""
        try:
            text = Path(file_path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise NotFoundError(f"there is no ignore file {str(file_path)!r}") from None
        return cls(*(line for line in text.splitlines() if not line.startswith("#")))

    def decide(self, path: str | PurePath) -> bool | None:
        """True: ignored. False: named by a ``!`` pattern. None: no pattern is about this path."""
        text = path if isinstance(path, str) else path.as_posix()
        for negated, _, regex in reversed(self._rules):
            if regex.match(text):
                return not negated
        return None

    def __call__(self, path: str | PurePath) -> bool:
        return self.decide(path) is True

    def may_bring_back_below(self, folder: str) -> bool:
        """Could a ``!`` pattern name something inside ``folder``, so that it must be entered?"""
        parts = folder.split("/")
        return any(negated and _overlaps(pattern, parts) for negated, pattern, _ in self._rules)

    @property
    def brings_back(self) -> bool:
        """Has any ``!`` pattern."""
        return any(negated for negated, _, _ in self._rules)

    def __invert__(self) -> Callable[[Path], bool]:
        return _Inverted(self)

    def __repr__(self) -> str:
        return f"FilePatternMatcher({', '.join(map(repr, self.patterns))})"


class _Inverted:
    """Ignores what the matcher within does not."""

    def __init__(self, matcher: FilePatternMatcher) -> None:
        self._matcher = matcher

    def __call__(self, path: str | PurePath) -> bool:
        return not self._matcher(path)

    def __invert__(self) -> FilePatternMatcher:
        return self._matcher

    def __repr__(self) -> str:
        return f"~{self._matcher!r}"


def as_predicate(ignore: Ignore) -> Callable[[Path], bool]:
    """An ``ignore=`` argument as a function. Raises :class:`InvalidError` when it is neither."""
    if callable(ignore):
        return ignore
    if isinstance(ignore, str) or not isinstance(ignore, Iterable):
        raise InvalidError(
            f"ignore={ignore!r} must be a list of patterns or a function",
            hints=(f"write ignore=[{ignore!r}]",) if isinstance(ignore, str) else (),
        )
    return FilePatternMatcher(*ignore)


_Rule = Tuple[bool, str, "re.Pattern[str]"]


def _parse(line: str) -> _Rule | None:
    text = line.strip()
    if not text:
        return None
    negated = text.startswith("!")
    pattern = text[1:].strip() if negated else text
    if not pattern:
        raise InvalidError(f"ignore pattern {line!r} has nothing after '!'")
    pattern = posixpath.normpath(pattern.replace(os.sep, "/") if os.sep != "/" else pattern)
    pattern = pattern.lstrip("/")
    if pattern in ("", "."):
        return None  # as in Docker, where "." says nothing
    return negated, pattern, _compile(pattern)


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    """The pattern as an expression that also matches everything below what it matches."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern.startswith("*", at):
            at += 1
            if pattern.startswith("/", at):
                at += 1
            out.append(".*" if at >= len(pattern) else "(?:.*/)?")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _char_class(pattern, at)
            out.append(text)
        elif char == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out) + r"(?:/.*)?\Z", re.DOTALL)


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    """A ``[...]`` whose bracket was just read, as an expression, and where it ends."""
    end = at + 1 if pattern.startswith(("^", "!"), at) else at
    end = pattern.find("]", end + 1)
    if end < 0:
        raise InvalidError(f"ignore pattern {pattern!r} has an unclosed '['")
    body = pattern[at:end]
    negated = body.startswith(("^", "!"))
    body = body[1:] if negated else body
    body = body.replace("[", r"\[").replace("&&", r"&\&")
    return ("(?!/)[^" if negated else "(?!/)[") + body + "]", end + 1


def _overlaps(pattern: str, folder: list[str]) -> bool:
    """Could ``pattern`` match something at or below ``folder``?"""
    for part, name in zip(pattern.split("/"), folder):
        if "**" in part:
            return True
        if not _compile(part).match(name):
            return False
    return True


NON_PYTHON_FILES = ~FilePatternMatcher("**/*.py")
"""Ignores everything but Python source."""
