"""Ignore patterns: dockerignore's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.errors import InvalidError, NotFoundError
from byoc.images.patterns import NON_PYTHON_FILES, FilePatternMatcher, as_predicate

# What the documented rules of .dockerignore files say about these patterns and paths.
CASES = [
    ("*.log", "a.log", True),
    ("*.log", "sub/a.log", False),
    ("**/*.log", "a.log", True),
    ("**/*.log", "sub/deep/a.log", True),
    ("**", "any/thing", True),
    ("sub", "sub/deep/a", True),
    ("sub/", "sub/deep/a", True),
    ("/sub", "sub/a", True),
    ("./sub", "sub/a", True),
    ("sub/*", "sub/a", True),
    ("sub/*", "sub/deep/a", True),
    ("sub/*/a", "sub/deep/a", True),
    ("sub/*/a", "sub/deep/er/a", False),
    ("sub/**/a", "sub/a", True),
    ("sub/**/a", "sub/x/y/a", True),
    ("sub/**", "sub/x/y", True),
    ("sub/**", "subway/x", False),
    ("a?c", "abc", True),
    ("a?c", "a/c", False),
    ("[a-c]x", "bx", True),
    ("[a-c]x", "dx", False),
    ("[^a-c]x", "dx", True),
    ("[^a-c]x", "bx", False),
    (r"a\*b", "a*b", True),
    (r"a\*b", "axb", False),
    ("a.b", "axb", False),
    ("a+b(c)", "a+b(c)", True),
    ("**/__pycache__", "p/q/__pycache__/m.pyc", True),
    ("a/../b", "b/c", True),
    (".", "anything", False),
    ("no", "node", False),
]


@pytest.mark.parametrize(("pattern", "path", "ignored"), CASES)
def test_pattern_matches_as_docker_does(pattern: str, path: str, ignored: bool) -> None:
    """One pattern and one path give Docker's answer."""
    assert FilePatternMatcher(pattern)(path) is ignored
    assert FilePatternMatcher(pattern)(Path(path)) is ignored


def test_last_matching_pattern_decides() -> None:
    """A later pattern overrules an earlier one in both directions."""
    matcher = FilePatternMatcher("**/*.md", "!docs/**", "docs/draft.md")
    assert matcher("readme.md")
    assert not matcher("docs/guide.md")
    assert matcher("docs/draft.md")


def test_decide_tells_named_from_unmentioned() -> None:
    """A path named by '!' is told apart from one that no pattern is about."""
    matcher = FilePatternMatcher("data", "!data/keep")
    assert matcher.decide("data/x") is True
    assert matcher.decide("data/keep/x") is False
    assert matcher.decide("src/x") is None


def test_may_bring_back_below() -> None:
    """A folder has to be entered when, and only when, a '!' pattern could name something in it."""
    matcher = FilePatternMatcher("a", "!a/b/*.txt", "!**/keep")
    assert FilePatternMatcher("a", "!a/b/*.txt").may_bring_back_below("a/b")
    assert FilePatternMatcher("a", "!a/b").may_bring_back_below("a/b/c")
    assert not FilePatternMatcher("a", "!a/b/*.txt").may_bring_back_below("a/c")
    assert not FilePatternMatcher("a").may_bring_back_below("a")
    assert matcher.may_bring_back_below("anything/at/all")


def test_inverse_of_a_matcher() -> None:
    """'~' ignores exactly what the matcher does not, and twice is the matcher again."""
    matcher = FilePatternMatcher("**/*.py")
    assert NON_PYTHON_FILES(Path("data.csv"))
    assert not NON_PYTHON_FILES(Path("pkg/mod.py"))
    inverse = ~matcher
    assert inverse(Path("data.csv")) and not inverse(Path("mod.py"))


def test_from_file_skips_comments_and_blank_lines(tmp_path: Path) -> None:
    """A file gives one pattern a line; comments, blank lines and a byte-order mark do not count."""
    file = tmp_path / "ignore"
    file.write_text("\ufeff# all logs\n\n**/*.log\n  spaced  \n", encoding="utf-8")
    matcher = FilePatternMatcher.from_file(file)
    assert matcher("a/b.log") and matcher("spaced") and not matcher("# all logs")
    with pytest.raises(NotFoundError, match="nowhere"):
        FilePatternMatcher.from_file(tmp_path / "nowhere")


def test_wrong_patterns_are_refused() -> None:
    """What is no pattern is refused where it is written."""
    for bad in ("[abc", "!", "x[a"):
        with pytest.raises(InvalidError):
            FilePatternMatcher(bad)
    with pytest.raises(InvalidError, match="must be a string"):
        FilePatternMatcher(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidError) as caught:
        as_predicate("*.log")
    assert "['*.log']" in caught.value.hints[0]
    with pytest.raises(InvalidError):
        as_predicate(7)  # type: ignore[arg-type]
