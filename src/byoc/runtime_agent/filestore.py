"""Files that the client sends, kept by content and put in place. Standard library only, 3.8+.

Layout under the store's folder::

    blobs/<sha256>       each content once
    places/<name>.json   what was put where last time, with the stat it had then

Contents are copied out and never linked, so that a program that changes its own source cannot
change the store.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from types import TracebackType
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple, Type

REMOTE_ROOT = "/root"
"""The home and working folder that programs see, as in Modal."""
_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_CHUNK = 1024 * 1024
Placed = Dict[str, List[Any]]
"""Path -> [digest, mode, size, mtime_ns]; only the digest when the file may not be there yet."""


class FileStoreError(Exception):
    """A file cannot be taken or placed. ``message`` is one sentence for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def new_file(folder: str) -> Tuple[int, str]:
    """A new file of a name of its own, 0600, open for reading and writing: descriptor and path.

    The standard library's tempfile does as much and takes 5 ms to import.
    """
    while True:
        path = os.path.join(folder, ".new-" + os.urandom(8).hex())
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path
        except FileExistsError:
            continue


def write_atomically(path: str, data: bytes) -> None:
    """The file at ``path`` has its old content or this one, never a part."""
    handle, temporary = new_file(os.path.dirname(path))
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


class Entry:
    """One file to place. ``path``: absolute remote path; ``mode``: permission bits."""

    __slots__ = ("digest", "mode", "path", "size")

    def __init__(self, path: str, size: int, mode: int, digest: str) -> None:
        self.path = path
        self.size = size
        self.mode = mode
        self.digest = digest

    @classmethod
    def from_json(cls, row: Any) -> Entry:
        """From ``[path, size, mode, digest]``, as the client's ``FileEntry.to_json`` writes it."""
        try:
            path, size, mode, digest = row
        except (TypeError, ValueError):
            raise FileStoreError(f"not a file entry: {row!r:.100}") from None
        if not (isinstance(path, str) and isinstance(digest, str) and _DIGEST.match(digest)):
            raise FileStoreError(f"not a file entry: {row!r:.100}")
        if type(size) is not int or type(mode) is not int or size < 0:
            raise FileStoreError(f"not a file entry: {row!r:.100}")
        return cls(path, size, mode & 0o777, digest)


class Target:
    """Where remote paths lie on this instance.

    ``root``: the folder that stands for ``/root``. ``real_root``: it is ``/root`` for the programs
    too, and other absolute paths belong to this instance and may be written.
    """

    def __init__(self, root: str, real_root: bool) -> None:
        self.root = os.path.realpath(root)
        self.real_root = real_root

    def locate(self, path: str) -> Tuple[str, List[str]]:
        """``(base folder, parts below it)``; raises :class:`FileStoreError` when not allowed."""
        parts = path.split("/")
        if parts[0] != "" or len(parts) < 2 or "\0" in path:
            raise FileStoreError(f"{path!r} is not an absolute path")
        parts = parts[1:]
        if any(part in ("", ".", "..") for part in parts):
            raise FileStoreError(f"{path!r} is not a plain path")
        if parts[0] == REMOTE_ROOT[1:] and len(parts) > 1:
            return self.root, parts[1:]
        if not self.real_root:
            raise FileStoreError(
                f"{path!r} lies outside {REMOTE_ROOT}, which is all that may be written here"
            )
        # Outside the root the machine's own links (/tmp, /var/run) are followed: the user named it.
        return os.path.realpath("/" + "/".join(parts[:-1])), parts[-1:]


class BlobWriter:
    """Takes one content in pieces; :meth:`commit` verifies it. A context manager."""

    def __init__(self, folder: str, digest: str) -> None:
        self._path = os.path.join(folder, digest)
        self._digest = digest
        self._hash = hashlib.sha256()
        handle, self._temporary = new_file(folder)
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._done = False

    def write(self, data: Any) -> None:
        """Appends a bytes-like object."""
        view = memoryview(data)
        self._hash.update(view)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Keeps the content under its digest; raises when it is another content."""
        self._file.close()
        if self._hash.hexdigest() != self._digest:
            raise FileStoreError(
                f"a content arrived damaged, or changed while it was sent: {self._digest[:12]}"
            )
        os.replace(self._temporary, self._path)
        self._done = True

    def __enter__(self) -> BlobWriter:  # noqa: PYI034 - Self is not in 3.8
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._file.close()
        if not self._done:
            os.unlink(self._temporary)


class FileStore:
    """The store in ``folder`` (made 0700). One writer of places at a time; blobs may be shared."""

    def __init__(self, folder: str) -> None:
        self._blobs = os.path.join(folder, "blobs")
        self._places = os.path.join(folder, "places")
        for path in (folder, self._blobs, self._places):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def missing(self, entries: Iterable[Entry]) -> List[str]:
        """The digests that are not here, each once, in the order of ``entries``."""
        here = set(os.listdir(self._blobs))
        wanted = dict.fromkeys(entry.digest for entry in entries)
        return [digest for digest in wanted if digest not in here]

    def path(self, digest: str) -> str:
        """The file in which a content is kept, or would be."""
        if not _DIGEST.match(digest):
            raise FileStoreError(f"not a digest: {digest!r:.80}")
        return os.path.join(self._blobs, digest)

    def writer(self, digest: str) -> BlobWriter:
        """To take a content in pieces."""
        self.path(digest)
        return BlobWriter(self._blobs, digest)

    def put(self, digest: str, data: Any) -> None:
        """Takes a content at once (bytes-like); raises when it has another digest."""
        with self.writer(digest) as writer:
            writer.write(data)
            writer.commit()

    def materialize(
        self, entries: Iterable[Entry], target: Target, name: str = "root"
    ) -> Dict[str, int]:
        """Makes the files at ``target`` be exactly ``entries``.

        Files that an earlier call with the same ``name`` placed and that are no more among the
        entries are removed; all others are left alone. A file that is as it was placed is not
        touched. Returns ``{"written", "kept", "removed"}``; raises :class:`FileStoreError`.
        """
        by_path = {entry.path: entry for entry in entries}
        located = {path: target.locate(path) for path in by_path}  # refuse before any change
        before = self._load(name)
        gone = [path for path in before if path not in by_path]
        # On disk first, so that a crash half-way leaves no file that nobody remembers.
        ahead: Placed = {path: [entry.digest] for path, entry in by_path.items()}
        if gone or before.keys() != by_path.keys():
            self._save(name, {**ahead, **before})
        removed = sum(self._remove(target, path) for path in gone)
        now: Placed = {}
        written = 0
        for folder, group in _by_folder(located).items():
            with _Folder(folder[0], folder[1]) as place:
                for path, leaf in group:
                    row = place.current(leaf, by_path[path], before.get(path))
                    if row is None:
                        row = place.write(leaf, by_path[path], self._open(by_path[path]))
                        written += 1
                    now[path] = row
        if now != before:
            self._save(name, now)
        return {"written": written, "kept": len(now) - written, "removed": removed}

    def prune(self, max_bytes: int) -> int:
        """Removes contents that no place uses, oldest first, until ``max_bytes`` hold the rest.

        Returns the bytes freed. Not while a sync is under way: it may need them.
        """
        used: Set[str] = set()
        for file in os.listdir(self._places):
            used.update(row[0] for row in self._load(file[: -len(".json")]).values())
        found = []
        with os.scandir(self._blobs) as blobs:
            for blob in blobs:
                info = blob.stat()
                found.append((info.st_mtime_ns, info.st_size, blob.name))
        total, freed = sum(size for _, size, _ in found), 0
        for _, size, digest in sorted(found):
            if total - freed <= max_bytes:
                break
            if digest not in used:
                os.unlink(os.path.join(self._blobs, digest))
                freed += size
        return freed

    def _open(self, entry: Entry) -> int:
        try:
            source = os.open(os.path.join(self._blobs, entry.digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise FileStoreError(f"the content of {entry.path!r} was not sent") from None
        if os.fstat(source).st_size != entry.size:
            os.close(source)
            raise FileStoreError(f"the stored content of {entry.path!r} has another size")
        return source

    def _remove(self, target: Target, path: str) -> int:
        """Removes a file placed earlier, and folders that this leaves empty."""
        try:
            base, parts = target.locate(path)
        except FileStoreError:
            return 0  # placed under rules that no longer hold: not ours to touch
        try:
            with _Folder(base, tuple(parts[:-1]), create=False) as place:
                os.unlink(parts[-1], dir_fd=place.fd)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileStoreError):
            return 0  # the user's program removed or replaced it: leave what stands there now
        except PermissionError as exc:
            if os.path.isdir(os.path.join(base, *parts)):
                return 0  # macOS reports a folder at this place so
            raise FileStoreError(f"cannot remove {path!r}: {exc.strerror}") from exc
        for depth in range(len(parts) - 1, 0, -1):
            try:
                with _Folder(base, tuple(parts[: depth - 1]), create=False) as place:
                    os.rmdir(parts[depth - 1], dir_fd=place.fd)
            except OSError:
                break  # not empty, and so are those above
        return 1

    def _load(self, name: str) -> Placed:
        try:
            with open(os.path.join(self._places, name + ".json"), "rb") as file:
                rows = json.load(file)
        except (FileNotFoundError, ValueError):
            return {}  # first time, or torn by a crash: everything is written anew
        return rows if isinstance(rows, dict) else {}

    def _save(self, name: str, rows: Placed) -> None:
        write_atomically(os.path.join(self._places, name + ".json"), json.dumps(rows).encode())


def _by_folder(
    located: Dict[str, Tuple[str, List[str]]],
) -> Dict[Tuple[str, Tuple[str, ...]], List[Tuple[str, str]]]:
    """(base, folder parts) -> [(remote path, file name)]."""
    groups: Dict[Tuple[str, Tuple[str, ...]], List[Tuple[str, str]]] = {}
    for path, (base, parts) in located.items():
        groups.setdefault((base, tuple(parts[:-1])), []).append((path, parts[-1]))
    return groups


class _Folder:
    """A folder below ``base`` held open; no part of the way there may be a link."""

    def __init__(self, base: str, parts: Tuple[str, ...], create: bool = True) -> None:
        self._path = os.path.join(base, *parts)
        try:
            if create:
                os.makedirs(base, exist_ok=True)
            self.fd = os.open(base, _DIR_FLAGS)
        except OSError as exc:
            raise FileStoreError(f"cannot write in {base!r}: {exc.strerror}") from exc
        for part in parts:
            self._descend(part, create)

    def _descend(self, part: str, create: bool) -> None:
        above = self.fd
        try:
            self.fd = _open_folder(above, part, create)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                raise FileStoreError(f"{self._path!r} is not there") from exc
            if exc.errno in (errno.ENOTDIR, errno.ELOOP):
                raise FileStoreError(
                    f"{self._path!r}: {part!r} is a link or a file on the instance, not a folder"
                ) from exc
            raise FileStoreError(f"cannot write in {self._path!r}: {exc.strerror}") from exc
        finally:
            os.close(above)

    def __enter__(self) -> _Folder:  # noqa: PYI034 - Self is not in 3.8
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def current(self, leaf: str, entry: Entry, before: Optional[List[Any]]) -> Optional[List[Any]]:
        """The row of a file that is still as it was placed, with this content; else None."""
        if before is None or before[:2] != [entry.digest, entry.mode]:
            return None
        try:
            info = os.stat(leaf, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return None
        same = stat.S_ISREG(info.st_mode) and _row(entry, info) == before
        return before if same and stat.S_IMODE(info.st_mode) == entry.mode else None

    def write(self, leaf: str, entry: Entry, source: int) -> List[Any]:
        """Puts the content in place by a rename; takes over ``source``."""
        temporary = f".byoc-{entry.digest[:16]}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            sink = os.open(temporary, flags, 0o600, dir_fd=self.fd)
            try:
                _copy(source, sink)
                os.fchmod(sink, entry.mode)
                os.replace(temporary, leaf, src_dir_fd=self.fd, dst_dir_fd=self.fd)
                return _row(entry, os.fstat(sink))
            except BaseException:
                os.unlink(temporary, dir_fd=self.fd)
                raise
            finally:
                os.close(sink)
        except IsADirectoryError:
            raise FileStoreError(f"{entry.path!r} is a folder on the instance") from None
        except OSError as exc:
            raise FileStoreError(f"cannot write {entry.path!r}: {exc.strerror}") from exc
        finally:
            os.close(source)


def _row(entry: Entry, info: os.stat_result) -> List[Any]:
    return [entry.digest, entry.mode, info.st_size, info.st_mtime_ns]


def _open_folder(above: int, part: str, create: bool) -> int:
    try:
        return os.open(part, _DIR_FLAGS, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
        with contextlib.suppress(FileExistsError):  # another writer may be first
            os.mkdir(part, 0o755, dir_fd=above)
        return os.open(part, _DIR_FLAGS, dir_fd=above)


def _copy(source: int, sink: int) -> None:
    while True:
        data = os.read(source, _COPY_CHUNK)
        if not data:
            return
        view = memoryview(data)
        while view:
            view = view[os.write(sink, view) :]
