"""``Secret``: values that reach a container as environment variables, and nothing else.

Values are read on the client when a run needs them. They appear in no repr, and a pickled secret
carries only the names of its variables: a function that holds one travels without the values, and
inside the container the names are looked up in the environment that the secret was given to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidError, NotYetError
from ..images.recipe import in_container

if TYPE_CHECKING:
    _Loader = Callable[[], dict[str, str]]


class Secret:
    """Environment variables for a function's containers. Made by :meth:`from_dict`,
    :meth:`from_local_environ` or :meth:`from_dotenv`; of several the later ones win."""

    __slots__ = ("_load", "_source")

    _load: _Loader
    _source: str

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise InvalidError(
            "Secret() cannot be called",
            hints=("use Secret.from_dict, Secret.from_local_environ or Secret.from_dotenv",),
        )

    @classmethod
    def from_dict(cls, env_dict: Mapping[str, str | None] = {}) -> Secret:
        """These variables. Values are strings; a variable with None is left out.

        Raises :class:`InvalidError` for anything else.
        """
        if not isinstance(env_dict, Mapping):
            raise InvalidError("Secret.from_dict takes a dict of names and values")
        values: dict[str, str] = {}
        for name, value in env_dict.items():
            _check_name(name)
            if value is not None:
                values[name] = _check_value(name, value)
        return _make(lambda: dict(values), _names("from_dict", values))

    @classmethod
    def from_local_environ(cls, env_keys: Iterable[str]) -> Secret:
        """These variables of the client's own environment, as they are now.

        Raises :class:`InvalidError` when one is not set. Inside a container the secret is empty:
        the variables were put there already.
        """
        if isinstance(env_keys, str):
            raise InvalidError(
                "Secret.from_local_environ takes a list of names",
                hints=(f"write [{env_keys!r}]",),
            )
        names = [_check_name(name) for name in env_keys]
        if in_container():
            return _make(dict, _names("from_local_environ", names))
        missing = [name for name in names if name not in os.environ]
        if missing:
            raise InvalidError(
                f"Secret.from_local_environ: not set in this environment: {', '.join(missing)}",
                hints=tuple(f"export {name}=... before starting byoc" for name in missing),
            )
        values = {name: os.environ[name] for name in names}
        return _make(lambda: dict(values), _names("from_local_environ", names))

    @classmethod
    def from_dotenv(
        cls, path: str | os.PathLike[str] | None = None, *, filename: str = ".env"
    ) -> Secret:
        """The variables of the nearest file called ``filename``, from ``path`` upward.

        ``path``: a folder, or a file whose folder is meant; None is the working folder. Found and
        read when a run needs it; no such file anywhere above is an empty secret. Raises
        :class:`InvalidError`, then, for a file that cannot be read.
        """
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise InvalidError(f"Secret.from_dotenv: path={path!r} must be a path")
        if not isinstance(filename, str) or not filename or "/" in filename:
            raise InvalidError(f"Secret.from_dotenv: filename={filename!r} must be a file's name")
        start = Path(os.path.abspath(os.fspath(path) if path is not None else os.getcwd()))
        return _make(lambda: _read_dotenv(start, filename), f"from_dotenv(filename={filename!r})")

    @classmethod
    def from_name(cls, *args: object, **kwargs: object) -> Secret:
        """Refused: stored secrets come later."""
        raise NotYetError(
            "Secret.from_name is not available in this version of byoc",
            hints=("use Secret.from_local_environ([...]) or Secret.from_dotenv()",),
        )

    def resolve(self) -> dict[str, str]:
        """The names and values, read now."""
        return self._load()

    @property
    def mark(self) -> str:
        """Says whether two secrets are the same without telling values: a digest. Of variables that
        the client reads for itself the names count, since a container cannot know the values."""
        values = sorted(self._load().items()) if self._source.startswith("from_dict") else []
        return hashlib.sha256(json.dumps([self._source, values]).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Secret.{self._source}"

    def __reduce__(self) -> tuple[Any, ...]:
        # A secret read from a file that is not there on the other side has no names to carry.
        names = () if self._source.startswith("from_dotenv") else tuple(self._load())
        return _from_environment, (names, self._source)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def resolve_all(secrets: Sequence[Secret]) -> dict[str, str]:
    """The variables of all, later ones over earlier ones."""
    values: dict[str, str] = {}
    for secret in secrets:
        values.update(secret.resolve())
    return values


def _make(load: _Loader, source: str) -> Secret:
    secret = object.__new__(Secret)
    secret._load = load
    secret._source = source
    return secret


def _from_environment(names: tuple[str, ...], source: str) -> Secret:
    """What a pickled secret becomes: those of its variables that this process has."""
    return _make(lambda: {n: os.environ[n] for n in names if n in os.environ}, source)


def _names(method: str, names: Any) -> str:
    return f"{method}({', '.join(sorted(names))})"


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise InvalidError(f"{name!r} is not the name of an environment variable")
    return name


def _check_value(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidError(
            f"the value of the secret {name} must be a string or None, not {type(value).__name__}"
        )
    if "\0" in value:
        raise InvalidError(f"the value of the secret {name} contains a zero byte")
    return value


def _read_dotenv(start: Path, filename: str) -> dict[str, str]:
    # Imported here because only programs with a .env file need it (about 15 ms).
    from dotenv import dotenv_values

    folder = start if start.is_dir() else start.parent
    for above in (folder, *folder.parents):
        file = above / filename
        if file.is_file():
            try:
                values = dotenv_values(file)
            except (OSError, UnicodeDecodeError) as exc:
                raise InvalidError(
                    f"Secret.from_dotenv: {str(file)!r} cannot be read: {exc}"
                ) from exc
            return {name: value for name, value in values.items() if value is not None}
    return {}
