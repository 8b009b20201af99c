"""Checks of what users pass to an image's methods; all raise :class:`InvalidError`."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from ..errors import InvalidError, NotYetError
from ..notices import deprecated

PYTHON_MINORS = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""What ``python_version=`` may name; the versions that the worker inside a container runs on."""
CREDENTIALS = re.compile(r"://[^/@\s'\"]+@")
"""The user and password in a URL."""
S = TypeVar("S", str, "str | None")


def blank_credentials(text: S) -> S:
    """The text without the user and password of any URL in it; None stays None."""
    return text if text is None else CREDENTIALS.sub("://", text)


def check_python(version: object) -> str | None:
    """A supported minor or full version; None stays None."""
    if version is None:
        return None
    if not isinstance(version, str):
        raise InvalidError(
            f"python_version={version!r} must be a string",
            hints=("quote it: python_version='3.12' (a number would turn 3.10 into 3.1)",),
        )
    text = version.strip()
    known = ".".join(text.split(".")[:2]) in PYTHON_MINORS
    if not known or not re.fullmatch(r"\d+\.\d+(\.\d+)?", text):
        raise InvalidError(
            f"python_version={version!r} is not supported: "
            f"it must be one of {', '.join(PYTHON_MINORS)}, or a full version of these"
        )
    return text


def check_bool(name: str, value: object) -> bool:
    """True or False, not something that counts as such."""
    if not isinstance(value, bool):
        raise InvalidError(f"{name}={value!r} must be True or False")
    return value


def check_packages(method: str, packages: tuple[object, ...]) -> tuple[str, ...]:
    """The names, lists flattened, sorted."""
    names: list[str] = []
    for package in packages:
        for given in package if isinstance(package, (list, tuple)) else (package,):
            if not isinstance(given, str):
                raise InvalidError(f"Image.{method} takes names of packages, not {given!r}")
            name = given.strip()
            if name.startswith("-"):
                raise InvalidError(
                    f"Image.{method}: {name!r} is an option and not a package",
                    hints=(f"write extra_options={name!r}",),
                )
            if not name or "\n" in name or "\r" in name:
                raise InvalidError(f"Image.{method}: {name!r} is not the name of a package")
            names.append(name)
    return tuple(sorted(names))


_OLD_OPTIONS = {
    "--find-links": "find_links",
    "-f": "find_links",
    "--index-url": "index_url",
    "-i": "index_url",
    "--extra-index-url": "extra_index_url",
}
"""Options of pip that may stand among the packages, as Modal took them before 1.0."""


def split_options(
    method: str, packages: tuple[object, ...], options: Mapping[str, Any]
) -> tuple[tuple[object, ...], dict[str, Any]]:
    """Packages without the options of pip among them, and ``options`` with those.

    ``("x", "--extra-index-url", u)`` gives ``("x",)`` and ``{"extra_index_url": u}``.
    """
    texts = [one for one in packages if isinstance(one, str) and one.strip().startswith("-")]
    if not texts or len(texts) == len(packages):
        return packages, dict(options)
    deprecated(f"{texts[0]} among the packages of Image.{method}", "write it as a keyword argument")
    given, plain, more = dict(options), [], []
    words = iter(list(_words_of(packages)))
    for word in words:
        if not isinstance(word, str) or not word.startswith("-"):
            plain.append(word)
            continue
        name, equals, value = word.partition("=")
        keyword = _OLD_OPTIONS.get(name)
        if keyword is not None:
            _set_once(method, given, keyword, value if equals else next(words, None))
        elif name == "--pre":
            given["pre"] = True
        else:
            more.append(shlex.quote(word))
    if more:
        given["extra_options"] = " ".join([*filter(None, [options.get("extra_options")]), *more])
    return tuple(plain), given


def _words_of(packages: tuple[object, ...]) -> Iterable[object]:
    for package in packages:
        if isinstance(package, str) and package.strip().startswith("-"):
            yield from package.split()
        else:
            yield package


def _set_once(method: str, given: dict[str, Any], keyword: str, value: object) -> None:
    if given.get(keyword) is not None:
        raise InvalidError(
            f"Image.{method} is told {keyword} twice",
            hints=("put further indexes into extra_options=",),
        )
    given[keyword] = value


def check_url(name: str, value: object) -> str | None:
    """A URL or path, or None."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InvalidError(f"{name}={value!r} must be a URL or a path")
    return value.strip()


def check_options(value: object) -> tuple[str, ...]:
    """The words of a command line. Credentials in them are refused."""
    if not isinstance(value, str):
        raise InvalidError(
            f"extra_options={value!r} must be one string, as on a command line",
            hints=("write extra_options='--no-deps --no-build-isolation'",),
        )
    try:
        options = tuple(shlex.split(value))
    except ValueError as exc:
        raise InvalidError(f"extra_options cannot be split into words: {exc}") from None
    if any(CREDENTIALS.search(option) for option in options):
        raise InvalidError(
            "extra_options holds a URL with credentials, which other users could read",
            hints=("pass that URL as index_url=, extra_index_url= or find_links=",),
        )
    return options


def check_variables(name: str, value: object) -> tuple[tuple[str, str], ...]:
    """A mapping of strings as sorted pairs."""
    if not isinstance(value, Mapping):
        raise InvalidError(f"{name}={value!r} must be a dict of strings")
    variables: dict[str, str] = {}
    for key, text in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise InvalidError(f"{key!r} is not the name of an environment variable")
        if not isinstance(text, str) or "\0" in text:
            raise InvalidError(
                f"the environment variable {key} must be a string, not {type(text).__name__}",
                hints=(f"write {{{key!r}: {str(text)!r}}}",) if type(text) in (int, float) else (),
            )
        variables[key] = text
    return tuple(sorted(variables.items()))


def check_remote(name: str, value: object) -> str:
    """An absolute path on the instance, normalised; a trailing slash stays."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise InvalidError(f"{name}={value!r} must be a path")
    text = str(value)
    if not text.startswith("/"):
        raise InvalidError(
            f"{name}={text!r} must be absolute", hints=(f"write {'/root/' + text!r}",)
        )
    if ".." in text.split("/") or "\0" in text:
        raise InvalidError(f"{name}={text!r} must not contain '..'")
    slash = "/" if text.endswith("/") and text.strip("/") else ""
    return os.path.normpath("/" + text.lstrip("/")) + slash


def check_local(name: str, value: object) -> str:
    """Absolute now, because the working folder may change before the file is read."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise InvalidError(f"{name}={value!r} must be a path")
    return os.path.abspath(os.path.expanduser(os.fspath(value)))


def check_files(name: str, value: object) -> tuple[str, ...]:
    """Absolute local paths of a list of files."""
    if isinstance(value, (str, os.PathLike)) or not isinstance(value, Iterable):
        raise InvalidError(f"{name} takes a list of files", hints=(f"write [{str(value)!r}]",))
    return tuple(check_local(name, path) for path in value)


class IndexOptions(TypedDict, total=False):
    """Options of every method that installs packages.

    ``index_url, ``extra_index_url``: package
    indexes; credentials in them enter no digest, log or command line. ``pre``: take pre-releases.
    ``extra_options``: more options, as on a command line. ``force_build``: build anew even when it
    is cached. ``env``: variables of this build step only. ``secrets``, ``gpu``: refused for now.
    """

    index_url: str | None
    extra_index_url: str | None
    pre: bool
    extra_options: str
    force_build: bool
    env: Mapping[str, str] | None
    secrets: object
    gpu: object


class PipOptions(IndexOptions, total=False):
    """And ``find_links``: a URL or folder with distributions."""

    find_links: str | None


_LATER = {
    "secrets": "put credentials into index_url=; they never enter a log or a digest",
    "gpu": "leave it out: the environment is built on the instance that has the GPU",
}


def pip_fields(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ``PipStep`` that :class:`PipOptions` sets."""
    for name in options:
        if name not in PipOptions.__annotations__:
            close = difflib.get_close_matches(name, PipOptions.__annotations__, 1)
            raise InvalidError(
                f"Image.{method} has no option {name}=",
                hints=(f"did you mean {close[0]}=?",) if close else (),
            )
    for name, hint in _LATER.items():
        if options.get(name):
            raise NotYetError(
                f"{name}= of Image.{method} is not available in this version of byoc",
                hints=(hint,),
            )
    urls = ("find_links", "index_url", "extra_index_url")
    fields: dict[str, Any] = {name: check_url(name, options.get(name)) for name in urls}
    fields["pre"] = check_bool("pre", options.get("pre", False))
    fields["force"] = check_bool("force_build", options.get("force_build", False))
    fields["extra_options"] = check_options(options.get("extra_options", ""))
    fields["env"] = check_variables("env", options.get("env") or {})
    return fields
