"""An emulated AWS account on loopback: the facade that the emulator's core starts."""

from __future__ import annotations

import http.server
import itertools
import os
import socket
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import create_backend_app

from ..ports import World
from . import identity, places, schema, strict
from .front import MODELS, PROTOCOLS, Front, Request
from .rentals import CLOUD, Rentals

_NUMBERS = itertools.count(1)
LARGEST = 1024 * 1024
"""Bytes of a request that are read; EC2 takes less."""


class AwsFacade:
    """One account: the regions of the catalogue, one user, nothing rented.

    ``folder``: a private folder for the user's configuration and keys.
    """

    cloud = CLOUD

    def __init__(self, world: World, folder: Path) -> None:
        self._folder = folder
        self._account = f"{next(_NUMBERS):06d}{os.getpid() % 1000000:06d}"
        self._owner = identity.administrator(self._account)
        self._byoc = identity.byoc(self._account, lambda: world.permit(CLOUD))
        self._rentals = Rentals(world, self._account)
        moto = create_backend_app("ec2")
        moto.config["PROPAGATE_EXCEPTIONS"] = True  # a mistake of ours is told where it is made
        keys = {one.key: one for one in (self._owner, self._byoc)}
        front = Front(world, self._account, keys, self._rentals, moto)
        self._server = _Server(front)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="emulator-aws", daemon=True
        )

    @property
    def address(self) -> str:
        """The URL at which it is served."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def account(self) -> str:
        """The account's number."""
        return self._account

    def start(self) -> None:
        """Write the user's configuration, and serve."""
        told = f"region = {places.HOME}\noutput = json\n"
        self._write("config", f"[default]\n{told}\n[profile {identity.BYOC}]\n{told}")
        users = {"default": self._owner, identity.BYOC: self._byoc}
        self._write(
            "credentials",
            "\n".join(
                f"[{name}]\naws_access_key_id = {one.key}\naws_secret_access_key = {one.secret}\n"
                for name, one in users.items()
            ),
        )
        strict.add(self._account, self._rentals)
        # What the first request would otherwise wait for: a third of a second.
        self._rentals.backend(places.HOME)
        for service in PROTOCOLS:
            schema.operations(MODELS.get(service, service))
        self._thread.start()

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def environment(self) -> dict[str, str]:
        """How SDK, command line and byoc find the account, and never another one. byoc acts as a
        user with its own policy; everybody else as the account's administrator."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "BYOC_AWS_PROFILE": identity.BYOC,
            "AWS_ACCESS_KEY_ID": self._owner.key,
            "AWS_SECRET_ACCESS_KEY": self._owner.secret,
            "AWS_DEFAULT_REGION": places.HOME,
            "AWS_REGION": places.HOME,
            "AWS_CONFIG_FILE": str(self._folder / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self._folder / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }

    def preempt(self, id: str, notice: float) -> None:
        """Take a spot instance away, as EC2 warns of it: in its metadata service."""
        self._rentals.preempt(id, notice)

    def lets_in(self, source: str, target: str) -> bool:
        """By the rules of security groups whose source is a group."""
        return self._rentals.lets_in(source, target)

    def admits(self, source: str, target: str) -> bool:
        """By the rules of security groups that name networks."""
        return self._rentals.admits(source, target)

    def leftovers(self) -> list[dict[str, str]]:
        """Disks without an instance and addresses that nobody uses."""
        return self._rentals.leftovers()

    def stop(self) -> None:
        """Serve no more, and forget everything."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close()
        strict.remove(self._account)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Connections stay open between requests; each has a thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, front: Front) -> None:
        self.front = front
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is told where it happened."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """End the connections that clients keep open as well."""
        with self._lock:
            left = list(self._open)
        for one in left:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is closed already
                continue
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one segment: two would wait for each other's receipt
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > LARGEST:
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = f"http://{headers.get('host', '')}{self.path}"
        body = self.rfile.read(size)
        reply = self.server.front.answer(Request(self.command, url, headers, body))
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("x-amzn-RequestId", reply.request_id)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """The world keeps the log."""
