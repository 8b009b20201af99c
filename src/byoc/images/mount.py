"""``Mount``: Modal's old way to bring local files, as calls of ``Image.add_local_*``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, NamedTuple

from ..errors import InvalidError, NotYetError
from ..notices import deprecated
from .checks import check_local
from .patterns import NON_PYTHON_FILES, Ignore
from .recipe import Image

Condition = Callable[[str], bool]
"""Takes a file's local path and says whether to bring it."""


class _Files(NamedTuple):
    """The arguments of one ``Image.add_local_*``. ``kind``: ``file`` | ``dir`` | ``python``."""

    kind: str
    local: str
    remote: str
    ignore: Ignore


class Mount:
    """Local files for ``mounts=[...]``, put in place when a container starts. Made by the methods
    below, each of which warns that ``Image.add_local_*`` is the way now."""

    __slots__ = ("_files",)

    _files: tuple[_Files, ...]

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise InvalidError(
            "Mount() cannot be called", hints=("use Image.add_local_dir or add_local_file",)
        )

    @staticmethod
    def from_local_dir(
        local_path: str | Path,
        *,
        remote_path: str | Path | None = None,
        condition: Condition | None = None,
        recursive: bool = True,
    ) -> Mount:
        """A folder's content; at ``/root/<its name>`` unless ``remote_path`` says otherwise."""
        deprecated("Mount.from_local_dir", "write image.add_local_dir(local, remote)")
        return _mount(_dir(local_path, remote_path, condition, recursive))

    @staticmethod
    def from_local_file(local_path: str | Path, remote_path: str | Path | None = None) -> Mount:
        """One file; at ``/root/<its name>`` unless ``remote_path`` says otherwise."""
        deprecated("Mount.from_local_file", "write image.add_local_file(local, remote)")
        return _mount(_file(local_path, remote_path))

    @staticmethod
    def from_local_python_packages(
        *module_names: str,
        remote_dir: str | Path = "/root",
        condition: Condition | None = None,
        ignore: Ignore = NON_PYTHON_FILES,
    ) -> Mount:
        """Modules or packages that can be imported here, below ``/root``."""
        deprecated(
            "Mount.from_local_python_packages", "write image.add_local_python_source('module')"
        )
        if str(remote_dir) != "/root" or condition is not None:
            raise NotYetError(
                "remote_dir= and condition= of Mount.from_local_python_packages are not available "
                "in this version of byoc",
                hints=("write image.add_local_python_source('module', ignore=[...])",),
            )
        return _mount(*(_Files("python", name, "", ignore) for name in module_names))

    @staticmethod
    def from_name(*args: object, **kwargs: object) -> Mount:
        """Refused: files that are kept under a name come with volumes."""
        raise NotYetError(
            "Mount.from_name is not available in this version of byoc",
            hints=("add the files to the image: image.add_local_dir(local, remote)",),
        )

    def add_local_dir(
        self,
        local_path: str | Path,
        *,
        remote_path: str | Path | None = None,
        condition: Condition | None = None,
        recursive: bool = True,
    ) -> Mount:
        """And a folder."""
        return _mount(*self._files, _dir(local_path, remote_path, condition, recursive))

    def add_local_file(
        self, local_path: str | Path, remote_path: str | Path | None = None
    ) -> Mount:
        """And one file."""
        return _mount(*self._files, _file(local_path, remote_path))

    def added_to(self, image: Image) -> Image:
        """``image`` with these files at its end."""
        for one in self._files:
            if one.kind == "python":
                image = image.add_local_python_source(one.local, ignore=one.ignore)
            elif one.kind == "dir":
                image = image.add_local_dir(one.local, one.remote, ignore=one.ignore)
            else:
                image = image.add_local_file(one.local, one.remote)
        return image

    def __repr__(self) -> str:
        return f"<byoc.Mount of {', '.join(os.path.basename(one.local) for one in self._files)}>"


def _mount(*files: _Files) -> Mount:
    mount = object.__new__(Mount)
    mount._files = files
    return mount


def _remote(local: str, remote_path: str | Path | None) -> str:
    return "/root/" + os.path.basename(local) if remote_path is None else str(remote_path)


def _file(local_path: str | Path, remote_path: str | Path | None) -> _Files:
    local = check_local("local_path", local_path)
    return _Files("file", local, _remote(local, remote_path), ())


def _dir(
    local_path: str | Path,
    remote_path: str | Path | None,
    condition: Condition | None,
    recursive: bool,
) -> _Files:
    local = check_local("local_path", local_path)

    def ignored(path: Path) -> bool:
        whole = Path(local, path)
        if whole.is_dir():
            return False  # the files in it decide
        deep = not recursive and len(path.parts) > 1
        return deep or (condition is not None and not condition(str(whole)))

    return _Files("dir", local, _remote(local, remote_path), ignored)
