"""Which files of a folder travel, and which stay.

Base: what git knows or would add (``git ls-files -co --exclude-standard``) in a work tree, else all
but the usual products of tools. On top: a ``.byocignore`` file in dockerignore syntax, whose word
is last; its ``!`` lines bring back what git or the rules below leave out. Files that look like
keys or passwords stay unless a ``!`` line names them.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import InvalidError
from .patterns import FilePatternMatcher

IGNORE_FILE = ".byocignore"
MAX_FILES = 50_000
"""More than any source tree needs; a listing beyond it is a data set or a home folder, and would
take minutes to read and send."""


@functools.cache
def _any_of(patterns: str) -> re.Pattern[str]:
    """One expression for all of the patterns; made when first used, for it takes milliseconds."""
    return re.compile("|".join(map(fnmatch.translate, patterns.split())))


_TOOL_DIRS_TEXT = """
    .git .hg .svn .jj __pycache__ .venv venv node_modules .mypy_cache
    .ruff_cache .pytest_cache .hypothesis .tox .nox .eggs .direnv
    .ipynb_checkpoints .idea .terraform .byoc
"""
_TOOL_DIRS = frozenset(_TOOL_DIRS_TEXT.split())
_TOOL_FILES = "*.pyc *.pyo .DS_Store Thumbs.db *.swp *~"
_SECRET_DIRS = frozenset(
    (".ssh", ".aws", ".gnupg", ".oci", ".azure", ".kube", ".docker", ".gcloud")
)
_SECRET_FILES = """
    .env .env.* *.env .envrc *.pem *.key *.p12 *.pfx *.jks *.kdbx
    *.keystore *.ppk id_rsa* id_dsa* id_ecdsa* id_ed25519* .netrc _netrc
    .pypirc .npmrc .pgpass .git-credentials .htpasswd .vault-token
    credentials.json application_default_credentials.json service-account*.json
    service_account*.json secrets.toml secrets.y*ml secrets.json *.tfstate
"""
_JOURNAL = "state/journal.db"
_SECRET_LOOKALIKES = "*.pub *.example *.sample *.template *.dist"


class Selection(NamedTuple):
    """Relative paths, ``/`` between parts, sorted. ``withheld``: look like secrets, stay."""

    files: tuple[str, ...]
    withheld: tuple[str, ...]


def looks_secret(path: str) -> bool:
    """Does the relative path look like a key, a password file or a cloud's credentials?"""
    *folders, name = path.lower().split("/")
    if any(folder in _SECRET_DIRS for folder in folders):
        return True
    return bool(_any_of(_SECRET_FILES).match(name)) and not _any_of(_SECRET_LOOKALIKES).match(name)


def select(folder: Path, limit: int = MAX_FILES) -> Selection:
    """The files of ``folder`` that travel. Raises :class:`InvalidError` beyond ``limit`` files."""
    ignore_file = folder / IGNORE_FILE
    matcher = FilePatternMatcher()
    if ignore_file.is_file():
        matcher = FilePatternMatcher.from_file(ignore_file)
    base = _git_files(folder)
    if base is None:
        base = set(walk(folder, lambda path: _enter(folder, path, matcher), limit))
        base = {path for path in base if not _is_product(path) or matcher.decide(path) is False}
    elif matcher.brings_back:
        every = walk(folder, lambda path: _enter(folder, path, matcher), limit)
        base |= {path for path in every if matcher.decide(path) is False}
    _check_count(len(base), folder, limit)
    files, withheld = [], []
    own = _data_folders(base)
    for path in sorted(base):
        decision = matcher.decide(path)
        if decision is None and path.startswith(own):
            continue
        if decision is None and looks_secret(path):
            withheld.append(path)
        elif decision is not True:
            files.append(path)
    return Selection(tuple(files), tuple(withheld))


def walk(folder: Path, enter: Callable[[str], bool], limit: int = MAX_FILES) -> Iterator[str]:
    """Relative paths of all files and links below ``folder``; ``enter`` says which folders to see.

    Links to folders are given as they are and not followed. Raises :class:`InvalidError` for a
    folder that cannot be read, and beyond ``limit`` files.
    """
    waiting = [""]
    count = 0
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(folder / above) as found:
                entries = list(found)
        except OSError as exc:
            raise InvalidError(
                f"cannot read the folder {str(folder / above)!r}: {exc.strerror}",
                hints=(f"name it in {IGNORE_FILE} to leave it out",),
            ) from exc
        for entry in entries:
            path = f"{above}/{entry.name}" if above else entry.name
            if not entry.is_dir(follow_symlinks=False):
                count += 1
                yield path
            elif enter(path):
                waiting.append(path)
        _check_count(count, folder, limit)


def _enter(folder: Path, path: str, matcher: FilePatternMatcher) -> bool:
    if matcher.may_bring_back_below(path):
        return True
    if matcher.decide(path) is True or path.rpartition("/")[2] in _TOOL_DIRS:
        return False
    return not os.path.exists(folder / path / "pyvenv.cfg")  # a virtual environment of any name


def _data_folders(paths: set[str]) -> tuple[str, ...]:
    """byoc's own, as ``BYOC_HOME=$PWD/anything`` makes them: nobody's program needs the journal,
    which changes while it would be sent."""
    found = (path[: -len(_JOURNAL)] for path in paths if path.endswith(f"/{_JOURNAL}"))
    return tuple(home for home in found if f"{home}owner" in paths)


def _is_product(path: str) -> bool:
    """Made by tools, whatever folder it was found in."""
    *folders, name = path.split("/")
    if any(folder in _TOOL_DIRS for folder in folders):
        return True
    return _any_of(_TOOL_FILES).match(name) is not None


def _git_files(folder: Path) -> set[str] | None:
    """What git tracks or would add here; None when this is no work tree or there is no git."""
    listings = _git(folder, ("--cached",), ("--others", "--exclude-standard"))
    if listings is None:
        return None
    tracked, untracked = listings
    # Tracked files are wanted whatever their name; untracked ones may be products of tools.
    paths = set(tracked) | {path for path in untracked if not _is_product(path)}
    files: set[str] = set()
    for path in paths:
        place = folder / path
        if os.path.islink(place) or not os.path.isdir(place):
            files.add(path)
        else:  # a submodule, or another repository inside this one
            inner = _git_files(place)
            if inner is None:
                inner = set(walk(place, lambda p: not _is_product(p + "/")))
            files |= {f"{path.rstrip('/')}/{name}" for name in inner}
    return {path for path in files if os.path.lexists(folder / path)}  # deleted but still tracked


def _git(folder: Path, *listings: tuple[str, ...]) -> list[list[str]] | None:
    """What ``git ls-files`` prints with each of these options; None when it cannot say."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environ["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        running = [  # side by side: together they take as long as one
            subprocess.Popen(
                ["git", "ls-files", "-z", *options],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for options in listings
        ]
    except FileNotFoundError:
        return None
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode != 0 for process in running):
        return None
    return [[os.fsdecode(path) for path in text.split(b"\0") if path] for text in outputs]


def _check_count(count: int, folder: Path, limit: int) -> None:
    if count > limit:
        raise InvalidError(
            f"the folder {str(folder)!r} has more than {limit} files to send",
            hints=(
                f"name what is not needed in {str(folder / IGNORE_FILE)!r}",
                "or start byoc in the project's own folder",
            ),
        )
