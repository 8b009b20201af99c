"""Local files on their way to an instance: what goes where, with the digest of its content."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..errors import InvalidError
from . import selection
from .patterns import NON_PYTHON_FILES, FilePatternMatcher
from .recipe import Image, LocalFiles

ROOT = "/root"
"""The home and working folder that functions see, as in Modal."""
MAX_BYTES = 1024**3
"""1 GiB in all: a minute and a half over a 100 Mbit/s uplink. More is data, which belongs in a
bucket or a volume and not into every run."""
_READ = 1024 * 1024
_NAMED = 5
"""So many of the biggest files are named when there is too much."""

Notice = Callable[[str], None]


@dataclass(frozen=True)
class FileEntry:
    """One file to send. ``path``: absolute remote path. ``source``: where it lies, or its content.

    ``size``: bytes. ``mode``: 0o644 or 0o755. ``digest``: SHA-256 of the content, hex.
    """

    path: str
    source: Path | bytes = field(repr=False)
    size: int
    mode: int
    digest: str

    def to_json(self) -> list[Any]:
        """``[path, size, mode, digest]``, as :mod:`byoc.runtime_agent.filestore` takes it."""
        return [self.path, self.size, self.mode, self.digest]

    def open(self) -> IO[bytes]:
        """The content, to be read once. What a file has grown by since is left out; that it has
        changed otherwise is what the other side finds."""
        if isinstance(self.source, bytes):
            return io.BytesIO(self.source)
        try:
            return _Beginning(self.source, self.size)
        except OSError as exc:
            raise _unreadable(self.source, exc) from exc


class _Beginning(io.FileIO):
    """So many bytes of a file, which may grow meanwhile: a log, or this command's own output, that
    goes to a file in the folder that travels."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path)
        self._left = size

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, up to the end that it had."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = super().read(wanted) or b""
        self._left -= len(data)
        return data


class _Found(NamedTuple):
    """A local file before it is read."""

    remote: str
    local: Path
    info: os.stat_result


def ignore_notice(message: str) -> None:
    """For callers that show no notices."""


def from_bytes(path: str, data: bytes, mode: int = 0o644) -> FileEntry:
    """A file whose content is made here."""
    return FileEntry(path, data, len(data), mode, hashlib.sha256(data).hexdigest())


def for_module_file(path: str | Path) -> list[FileEntry]:
    """A function's script: ``dir/foo.py`` goes to ``/root/foo.py``."""
    local = Path(path)
    return _read_all(_plain_file(local, f"{ROOT}/{local.name}", "the script"))


def for_package(folder: str | Path, notice: Notice = ignore_notice) -> list[FileEntry]:
    """A function's package: the ``.py`` files of the top-level package ``folder``."""
    local = Path(folder).absolute()
    return _read_all(_package(local, f"{ROOT}/{local.name}", NON_PYTHON_FILES, notice))


def for_folder(
    folder: str | Path, remote: str = ROOT, notice: Notice = ignore_notice
) -> list[FileEntry]:
    """A working folder; :mod:`byoc.images.selection` says what of it travels.

    ``notice`` is told, once each, of files that look like secrets and of links that lead outside.
    Raises :class:`InvalidError` for a home folder or ``/``, and for too much to send.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise InvalidError(f"there is no folder {str(folder)!r}")
    if root == Path(root.anchor) or root == Path.home().resolve():
        raise InvalidError(
            f"{str(root)!r} is not a project folder, and all of it would be sent",
            hints=("change into the project's own folder first",),
        )
    chosen = selection.select(root)
    if chosen.withheld:
        notice(
            f"not sent, because they look like secrets: {_some(chosen.withheld)}; "
            f"a line such as '!{chosen.withheld[0]}' in {selection.IGNORE_FILE} sends one"
        )
    return _read_all(_resolve(root, chosen.files, remote, notice, withhold=True))


def for_image(image: Image, notice: Notice = ignore_notice) -> list[FileEntry]:
    """What the image's ``add_local_*`` bring, those with ``copy=True`` too; later ones win."""
    entries: dict[str, FileEntry] = {}
    for step in image.steps:
        if isinstance(step, LocalFiles):
            entries.update((entry.path, entry) for entry in for_step(step, notice))
    return list(entries.values())


def for_step(step: LocalFiles, notice: Notice = ignore_notice) -> list[FileEntry]:
    """What one ``add_local_*`` brings. Raises :class:`InvalidError` when it is not there."""
    local = Path(step.local)
    if step.kind == "file":
        return _read_all(_plain_file(local, step.remote, "add_local_file: the file"))
    if step.kind == "dir":
        return _read_all(_directory(local, step, notice))
    return _read_all(_module(step, notice))


def collect(*groups: Iterable[FileEntry]) -> list[FileEntry]:
    """All groups as one list by remote path; of two files for one place the later one is taken.

    Raises :class:`InvalidError` when they are too much together, naming the biggest.
    """
    entries: dict[str, FileEntry] = {}
    for group in groups:
        entries.update((entry.path, entry) for entry in group)
    contents = {entry.digest: entry for entry in entries.values()}
    _check_size([(entry.size, entry.path) for entry in contents.values()])
    return [entries[path] for path in sorted(entries)]


# --- finding --------------------------------------------------------------------------------


def _plain_file(local: Path, remote: str, what: str) -> list[_Found]:
    try:
        info = local.stat()
    except OSError as exc:
        raise InvalidError(f"{what} {str(local)!r} cannot be read: {exc.strerror}") from exc
    if not stat.S_ISREG(info.st_mode):
        hints = ("use add_local_dir for a folder",) if stat.S_ISDIR(info.st_mode) else ()
        raise InvalidError(f"{what} {str(local)!r} is not a plain file", hints=hints)
    return [_Found(remote, local, info)]


def _directory(local: Path, step: LocalFiles, notice: Notice) -> list[_Found]:
    if not local.is_dir():
        raise InvalidError(f"add_local_dir: there is no folder {str(local)!r}")
    ignore = step.ignore or FilePatternMatcher()
    paths = [p for p in selection.walk(local, _entering(ignore)) if not ignore(Path(p))]
    secrets = [path for path in paths if selection.looks_secret(path)]
    if secrets:
        notice(f"add_local_dir sends what looks like secrets: {_some(secrets)}; see its ignore=")
    return _resolve(local.resolve(), sorted(paths), step.remote, notice)


def _entering(ignore: Callable[[Path], bool]) -> Callable[[str], bool]:
    """Which folders to enter: patterns can rule one out as a whole, a function cannot."""
    if not isinstance(ignore, FilePatternMatcher):
        return lambda path: True
    matcher = ignore
    return lambda path: matcher.decide(path) is not True or matcher.may_bring_back_below(path)


def _module(step: LocalFiles, notice: Notice) -> list[_Found]:
    hint = "name a module or package that can be imported where byoc is started"
    try:
        spec = importlib.util.find_spec(step.local)
    except (ImportError, ValueError) as exc:
        raise InvalidError(
            f"add_local_python_source: {step.local!r} cannot be found: {exc}", hints=(hint,)
        ) from exc
    if spec is None:
        raise InvalidError(
            f"add_local_python_source: there is no module {step.local!r} here", hints=(hint,)
        )
    ignore = step.ignore or NON_PYTHON_FILES
    if spec.submodule_search_locations is not None:
        found: list[_Found] = []
        for location in spec.submodule_search_locations:
            found += _package(Path(location), step.remote, ignore, notice)
        return found
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise InvalidError(
            f"add_local_python_source: {step.local!r} is not Python source",
            hints=("install it in the image by pip_install",),
        )
    return _plain_file(Path(spec.origin), step.remote + ".py", "the module")


def _package(
    local: Path, remote: str, ignore: Callable[[Path], bool], notice: Notice
) -> list[_Found]:
    if not local.is_dir():
        raise InvalidError(f"there is no package folder {str(local)!r}")

    def enter(path: str) -> bool:
        name = path.rpartition("/")[2]
        return not name.startswith(".") and name != "__pycache__"

    paths = sorted(path for path in selection.walk(local, enter) if not ignore(Path(path)))
    return _resolve(local.resolve(), paths, remote, notice)


def _resolve(
    root: Path, paths: Sequence[str], remote: str, notice: Notice, withhold: bool = False
) -> list[_Found]:
    """The plain files behind ``paths``, for places below ``remote``.

    Links that lead outside or nowhere, and what is no file, are skipped with a notice; so are, when
    ``withhold``, links to what looks like a secret.
    """
    resolver = _Resolver(root, paths, withhold)
    prefix = remote.rstrip("/")
    found = [_Found(f"{prefix}/{path}", local, info) for path, local, info in resolver.files()]
    if resolver.skipped:
        notice(
            "not sent, because they lead outside or are no plain files: " + _some(resolver.skipped)
        )
    _check_size([(entry.info.st_size, entry.remote) for entry in found])
    return found


class _Resolver:
    """Follows links within ``root``: a file's becomes its content, and a folder's becomes those of
    ``paths`` that lie in that folder."""

    def __init__(self, root: Path, paths: Sequence[str], withhold: bool) -> None:
        self._root = root
        self._paths = paths
        self._withhold = withhold
        self.skipped: list[str] = []

    def files(self) -> Iterator[tuple[str, Path, os.stat_result]]:
        """(path to be, where the content lies, its stat)."""
        for path in self._paths:
            yield from self._one(path, self._root / path, ())

    def _one(
        self, path: str, local: Path, through: tuple[str, ...]
    ) -> Iterator[tuple[str, Path, os.stat_result]]:
        try:
            info = local.lstat()
            if stat.S_ISLNK(info.st_mode):
                yield from self._link(path, local.resolve(strict=True), through)
                return
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
            self.skipped.append(path)
            return
        if stat.S_ISREG(info.st_mode):
            yield path, local, info
        else:
            self.skipped.append(path)  # a socket, a pipe, a device

    def _link(
        self, path: str, real: Path, through: tuple[str, ...]
    ) -> Iterator[tuple[str, Path, os.stat_result]]:
        inner = _below(self._root, real)
        secret = self._withhold and inner is not None and selection.looks_secret(inner)
        # A folder that holds the link itself, or was come through, would go on for ever.
        if inner is None or secret or inner in through or path.startswith(inner + "/"):
            self.skipped.append(path)
        elif real.is_dir():
            for below in self._paths:
                if below.startswith(inner + "/"):
                    place = path + below[len(inner) :]
                    yield from self._one(place, self._root / below, (*through, inner))
        else:
            yield from self._one(path, real, through)


def _below(root: Path, real: Path) -> str | None:
    """The relative path of ``real`` in ``root``; None when it lies elsewhere or is it."""
    try:
        inner = real.relative_to(root).as_posix()
    except ValueError:
        return None
    return None if inner == "." else inner


# --- reading --------------------------------------------------------------------------------


def _read_all(found: Iterable[_Found]) -> list[FileEntry]:
    return [_read_one(file) for file in found]


def _read_one(file: _Found) -> FileEntry:
    digest = hashlib.sha256()
    size = 0
    try:
        with open(file.local, "rb", buffering=0) as source:
            while data := source.read(_READ):
                digest.update(data)
                size += len(data)
    except OSError as exc:
        raise _unreadable(file.local, exc) from exc
    mode = 0o755 if file.info.st_mode & 0o100 else 0o644
    return FileEntry(file.remote, file.local, size, mode, digest.hexdigest())


def _unreadable(path: Path, exc: OSError) -> InvalidError:
    return InvalidError(
        f"cannot read {str(path)!r}: {exc.strerror}",
        hints=(f"name it in {selection.IGNORE_FILE} or in ignore= to leave it out",),
    )


def _check_size(files: list[tuple[int, str]]) -> None:
    total = sum(size for size, _ in files)
    if total <= MAX_BYTES:
        return
    top = sorted(files, reverse=True)[:_NAMED]
    biggest = ", ".join(f"{path} ({_mib(size)})" for size, path in top)
    raise InvalidError(
        f"{_mib(total)} of files would be sent and {_mib(MAX_BYTES)} is the most; "
        f"the biggest: {biggest}",
        hints=(
            f"name what is not needed in {selection.IGNORE_FILE}, or in ignore= of add_local_dir",
            "put data into a bucket and read it from the function",
        ),
    )


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"


def _some(paths: Sequence[str]) -> str:
    """The first few paths, and how many more there are."""
    more = len(paths) - _NAMED
    return ", ".join(paths[:_NAMED]) + (f" and {more} more" if more > 0 else "")
