"""A machine's way out: an HTTP proxy on its own loopback, whose far end is this host.

Off unless asked for. It reaches public names and the package index of this host's settings; never
the link-local net, where a host's own metadata service is, nor other private addresses.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import select
import socket
import threading
from http.client import HTTPException, HTTPMessage, parse_headers
from io import BufferedReader
from typing import NamedTuple
from urllib.parse import urlsplit

_LOG = logging.getLogger(__name__)
HEAD_TIMEOUT = 30.0
"""Seconds for a request's head, and for the connection to where it goes."""
IDLE = 300.0
"""Seconds without a byte in either direction, after which a tunnel is closed."""
PIECE = 64 * 1024
_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")
_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")


class Refusal(Exception):
    """What the machine is told instead of an answer: a status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class _Target(NamedTuple):
    host: str
    port: int


def start(connection: socket.socket) -> None:
    """Serve one connection of a machine, on a thread of its own."""
    threading.Thread(target=_serve, args=(connection,), name="emulator-egress", daemon=True).start()


def _serve(near: socket.socket) -> None:
    with near:
        try:
            near.settimeout(HEAD_TIMEOUT)
            _request(near)
        except Refusal as refusal:
            text = f"emulator: {refusal.text}\n"
            head = f"HTTP/1.1 {refusal.status} refused\r\nContent-Length: {len(text)}\r\n"
            with contextlib.suppress(OSError):
                near.sendall(f"{head}Connection: close\r\n\r\n{text}".encode())
        except (OSError, ValueError, HTTPException) as error:
            _LOG.debug("egress: %s", error)


def _request(near: socket.socket) -> None:
    with near.makefile("rb") as reader:
        assert isinstance(reader, BufferedReader)
        words = reader.readline(PIECE).decode("latin-1").split()
        if len(words) != 3:
            raise Refusal(400, "not a request")
        headers = parse_headers(reader)
        method, where, version = words
        if method == "CONNECT":
            host, _, port = where.rpartition(":")
            target = _Target(host.strip("[]"), int(port))
            first = b""
        else:
            parts = urlsplit(where)
            if parts.scheme != "http" or not parts.hostname:
                raise Refusal(400, "only http:// and CONNECT are forwarded")
            target = _Target(parts.hostname, parts.port or 80)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            first = _head(method, path, version, headers)
        with _connected(target) as far:
            if first:
                far.sendall(first)
            else:
                near.sendall(b"HTTP/1.1 200 established\r\n\r\n")
            waiting = reader.peek() if reader.raw is not None and _has_more(near, reader) else b""
            if waiting:
                far.sendall(waiting)
            _join(near, far)


def _has_more(near: socket.socket, reader: BufferedReader) -> bool:
    """Whether bytes came along with the head: ``peek`` would wait for some otherwise."""
    near.setblocking(False)
    try:
        return bool(reader.peek(1))
    except BlockingIOError:
        return False
    finally:
        near.settimeout(HEAD_TIMEOUT)


def _head(method: str, path: str, version: str, headers: HTTPMessage) -> bytes:
    """The request as its server wants it; one request a connection."""
    kept = [(name, value) for name, value in headers.items() if not _of_the_hop(name)]
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in kept)]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def _of_the_hop(name: str) -> bool:
    return name.lower() in ("connection", "proxy-connection", "keep-alive", "proxy-authorization")


def _connected(target: _Target) -> socket.socket:
    """A connection to a target that machines may reach, through this host's own proxy if it has
    one. Raises Refusal."""
    proxy = next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "")
    _must_be_allowed(target, by_name=bool(proxy))
    try:
        if proxy and target not in _indexes():
            return _through(proxy, target)
        address = _allowed_address(target)
        return socket.create_connection((address, target.port), HEAD_TIMEOUT)
    except OSError as error:
        raise Refusal(502, f"{target.host}:{target.port}: {error}") from None


def _must_be_allowed(target: _Target, by_name: bool) -> None:
    """Numbers are looked at as they are; names, where this host resolves them itself, later."""
    try:
        number = ipaddress.ip_address(target.host)
    except ValueError:
        if target.host.lower() in ("localhost", "metadata.google.internal") and not by_name:
            raise Refusal(403, f"{target.host} is not reached from here") from None
        return
    if not number.is_global and target not in _indexes():
        raise Refusal(403, f"{target.host} is not a public address")


def _allowed_address(target: _Target) -> str:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(row[4][0]) for row in found]
    if target in _indexes():
        return addresses[0]
    public = [one for one in addresses if ipaddress.ip_address(one).is_global]
    if not public:
        raise Refusal(403, f"{target.host} is not at a public address")
    return public[0]


def _indexes() -> set[_Target]:
    """Where this host's settings say that packages come from, private or not; but never the
    link-local net."""
    found = set()
    for name in _INDEXES:
        for word in os.environ.get(name, "").split():
            parts = urlsplit(word.partition("=")[2] if "=" in word.split(":")[0] else word)
            if parts.hostname and not parts.hostname.startswith("169.254."):
                usual = 443 if parts.scheme == "https" else 80
                found.add(_Target(parts.hostname, parts.port or usual))
    return found


def _through(proxy: str, target: _Target) -> socket.socket:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    far = socket.create_connection((parts.hostname or "", parts.port or 80), HEAD_TIMEOUT)
    place = f"{target.host}:{target.port}"
    far.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = far.recv(1)
        if not piece or len(answer) > PIECE:
            break
        answer += piece
    if b" 200 " not in answer.split(b"\r\n")[0]:
        far.close()
        said = answer.split(b"\r\n")[0].decode("latin-1")
        raise Refusal(502, f"this host's proxy refuses {place}: {said}")
    return far


def _join(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes on in both directions until one side has ended, or neither says anything."""
    other = {near: far, far: near}
    while True:
        ready = select.select(list(other), [], [], IDLE)[0]
        if not ready:
            return
        for source in ready:
            piece = source.recv(PIECE)
            if not piece:
                return
            other[source].sendall(piece)
