"""Tiny wheels and an index on loopback, so that building an environment needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from byoc.runtime_agent import interpreters

MINORS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def wheel(folder: Path, name: str, version: str = "1.0", requires: str = "") -> Path:
    """A wheel with one module ``name`` that has ``VERSION``, for any Python."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires:
        metadata += f"Requires-Dist: {requires}\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", metadata)
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{info}/WHEEL", tags)
        file.writestr(f"{info}/RECORD", "")
    return path


def uv_program() -> str:
    """Where uv is; skips the test, visibly, on a machine without it."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}") or shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed")
    return found


def other_python() -> tuple[str, str]:
    """(minor, path) of a Python here of another minor than this one; skips when there is none."""
    own = "%d.%d" % sys.version_info[:2]
    for minor in reversed(MINORS):
        if minor != own:
            path = interpreters.find(minor, (), "/nonexistent", os.environ)
            if path is not None:
                return minor, path
    pytest.skip("there is one minor of Python only on this machine")


_JSON = "application/vnd.pypi.simple.v1+json"


def sha256(path: Path) -> str:
    """Of a file's content, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _html(wheels: list[Path]) -> str:
    rows = [f'<a href="/files/{w.name}#sha256={sha256(w)}">{w.name}</a>' for w in wheels]
    return "<!DOCTYPE html><html><body>\n" + "<br/>\n".join(rows)


def _json(wheels: list[Path]) -> str:
    rows = [
        {"filename": w.name, "url": f"../../files/{w.name}", "hashes": {"sha256": sha256(w)}}
        for w in wheels
    ]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "some", "files": rows})


class Index:
    """A package index with the wheels of a folder. ``user``/``password``: asked for when given.

    ``seen`` runs at every request. ``stuck``: requests are taken and not answered until it is set.
    ``speaks_json``: it answers as PEP 691 says, else with a page of links.
    """

    def __init__(self, folder: Path, credentials: str = "") -> None:
        self.folder = folder
        self.seen: Callable[[str], None] = lambda path: None
        self.stuck: threading.Event | None = None
        self.speaks_json = False
        self._wanted = "Basic " + base64.b64encode(credentials.encode()).decode()
        self._credentials = credentials
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def do_HEAD(self) -> None:
                index.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def url(self, credentials: bool = True) -> str:
        """For ``index_url=``."""
        login = f"{self._credentials}@" if self._credentials and credentials else ""
        return f"http://{login}127.0.0.1:{self.port}/simple"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        self.seen(request.path)
        if self.stuck is not None:
            self.stuck.wait(30)
        if self._credentials and request.headers.get("Authorization") != self._wanted:
            self._send(request, 401, b"", "text/plain")
            return
        name = request.path.strip("/").rpartition("/")[2]
        file = self.folder / name
        if request.path.startswith("/simple/"):
            wheels = sorted(self.folder.glob(f"{name.replace('-', '_')}-*.whl"))
            kind = _JSON if self.speaks_json else "text/html"
            page = _json(wheels) if self.speaks_json else _html(wheels)
            self._send(request, 200 if wheels else 404, page.encode(), kind)
        elif file.is_file():
            self._send(request, 200, file.read_bytes(), "application/octet-stream")
        else:
            self._send(request, 404, b"", "text/plain")

    def _send(self, request: BaseHTTPRequestHandler, code: int, body: bytes, kind: str) -> None:
        request.send_response(code)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Cache-Control", "max-age=0, must-revalidate")
        if code == 401:
            request.send_header("WWW-Authenticate", "Basic")
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    @contextmanager
    def serving(self) -> Iterator[Index]:
        """Answers inside the block; afterwards connections are refused."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            if self.stuck is not None:
                self.stuck.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
