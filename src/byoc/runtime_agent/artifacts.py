"""Files that go back to the client: matched by pattern, read in pieces as the client takes them."""

from __future__ import annotations

import glob
import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..wire import messages
from ..wire.link import Buffer

PIECE = 1024 * 1024
"""Bytes of a file per message."""


def find(root: str, patterns: List[str]) -> List[str]:
    """Relative paths of the regular files under ``root`` that any pattern matches, each once.

    A pattern that names a folder means all that is in it. Nothing outside ``root`` is given.
    """
    base = os.path.realpath(root)
    found: Dict[str, None] = {}
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(glob.escape(base), pattern), recursive=True)):
            for name in _files(path, base):
                real = os.path.realpath(name)
                if real.startswith(base + os.sep) and os.path.isfile(real):
                    found[os.path.relpath(name, base)] = None
    return list(found)


def _files(path: str, base: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    if not (os.path.realpath(path) + os.sep).startswith(base + os.sep):
        return  # a link to a folder elsewhere, which may well hold the root again
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            yield os.path.join(folder, name)


class Source:
    """The messages of a fetch, one by one: ``{"path", "mode", "offset", "size"}`` and a piece."""

    def __init__(self, root: str, patterns: List[str]) -> None:
        self._root = os.path.realpath(root)
        self._pieces = self._all(patterns)

    def next(self) -> Optional[List[Buffer]]:
        """The next message encoded, or None after the last."""
        for head, data in self._pieces:
            return messages.encode(head, [data])
        return None

    def _all(self, patterns: List[str]) -> Iterator[Tuple[Dict[str, Any], bytes]]:
        try:
            names = find(self._root, patterns)
        except (OSError, ValueError, RecursionError) as error:  # no path can be like that
            yield {"path": ", ".join(patterns), "error": str(error)}, b""
            return
        for name in names:
            try:
                yield from self._read(name)
            except OSError as error:
                yield {"path": name, "error": str(error)}, b""

    def _read(self, name: str) -> Iterator[Tuple[Dict[str, Any], bytes]]:
        """The file as long as it was when it was opened, in pieces; at least one."""
        with open(os.path.join(self._root, name), "rb") as file:
            stat = os.fstat(file.fileno())
            head = {"path": name, "mode": stat.st_mode & 0o777, "size": stat.st_size}
            offset = 0
            while True:
                data = file.read(min(PIECE, stat.st_size - offset))
                if not data and offset < stat.st_size:
                    raise OSError("it became shorter while it was read")
                yield dict(head, offset=offset), data
                offset += len(data)
                if offset == stat.st_size:
                    return
