"""A machine's way out: an HTTP proxy on its own loopback, whose far end is this host.

Off unless asked for. It reaches public names and the package index of this host's settings; never
the link-local net, where a host's own metadata service is, nor other private addresses.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import logging
import os
import select
import socket
import threading
from http.client import HTTPException, HTTPMessage, parse_headers
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
    head = io.BytesIO(_read_head(near))
    words = head.readline().decode("latin-1").split()
    if len(words) != 3:
        raise Refusal(400, "not a request")
    method, where, version = words
    if method == "CONNECT":
        host, _, port = where.rpartition(":")
        with _connected(_Target(host.strip("[]"), int(port))) as far:
            near.sendall(b"HTTP/1.1 200 established\r\n\r\n")
            _join(near, far)
        return
    parts = urlsplit(where)
    if parts.scheme != "http" or not parts.hostname:
        raise Refusal(400, "only http:// and CONNECT are forwarded")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _connected(_Target(parts.hostname, parts.port or 80)) as far:
        far.sendall(_head(method, path, version, parse_headers(head)))
        _join(near, far)


def _read_head(peer: socket.socket) -> bytes:
    """Up to the empty line and not a byte further: what follows is not ours."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = peer.recv(1)
        if not piece or len(head) > PIECE:
            raise Refusal(400, "not a whole request")
        head += piece
    return head


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
    for_packages = target in _package_hosts()
    try:
        if proxy and not for_packages and _number(target.host) is None:
            return _through(proxy, target)
        return socket.create_connection((_address(target, for_packages), target.port), HEAD_TIMEOUT)
    except OSError as error:
        raise Refusal(502, f"{target.host}:{target.port}: {error}") from None


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _address(target: _Target, for_packages: bool) -> str:
    """Where to connect. Names are resolved here and the number is what counts, so that no name
    leads where a number would not."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    for row in found:
        number = ipaddress.ip_address(str(row[4][0]).partition("%")[0])
        if number.is_global or (for_packages and not number.is_link_local):
            return str(number)
    raise Refusal(403, f"{target.host} is not at a public address")


def _package_hosts() -> set[_Target]:
    """Where packages come from, by default and by this host's settings. These may be at private
    addresses, as a company's mirror is."""
    found = {_Target("pypi.org", 443), _Target("files.pythonhosted.org", 443)}
    for name in _INDEXES:
        for word in os.environ.get(name, "").split():
            parts = urlsplit(word[word.find("http") :])
            if parts.hostname:
                usual = 443 if parts.scheme == "https" else 80
                found.add(_Target(parts.hostname, parts.port or usual))
    return found


def _through(proxy: str, target: _Target) -> socket.socket:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    far = socket.create_connection((parts.hostname or "", parts.port or 80), HEAD_TIMEOUT)
    place = f"{target.host}:{target.port}"
    far.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    said = _read_head(far).split(b"\r\n")[0].decode("latin-1")
    if " 200 " not in f"{said} ":
        far.close()
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
