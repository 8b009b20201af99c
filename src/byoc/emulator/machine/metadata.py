"""The metadata service of a machine: HTTP at 169.254.169.254, answered by its cloud's façade."""

from __future__ import annotations

import logging
import socket
from http.server import BaseHTTPRequestHandler

from ..ports import Metadata, Reply

TIMEOUT = 5.0
"""Seconds for a request to arrive; they are a few lines from the next process."""
LARGEST = 1 << 20
"""Bytes of a request's body; what is sent there is a token or a key."""
_LOG = logging.getLogger(__name__)


def serve(connection: socket.socket, answer: Metadata) -> None:
    """One request on one connection, which is closed."""
    handler = type("_Handler", (_Handler,), {"answer": staticmethod(answer)})
    with connection:
        try:
            connection.settimeout(TIMEOUT)
            handler(connection, ("machine", 0), None)
        except OSError as error:  # it left before the answer
            _LOG.debug("metadata: %s", error)


class _Handler(BaseHTTPRequestHandler):
    """Reads one request and writes the answer at once."""

    wbufsize = 65536
    server_version = "metadata"
    answer: Metadata

    def _any(self) -> None:
        size = min(int(self.headers.get("Content-Length") or 0), LARGEST)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            reply = self.answer(self.command, self.path, headers, self.rfile.read(size))
        except Exception:  # noqa: BLE001 - a façade's mistake must reach the guest as a failure
            _LOG.exception("the metadata service failed: %s %s", self.command, self.path)
            reply = Reply(500, b"emulator: the metadata service failed\n")
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.type)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.etag:
            self.send_header("ETag", reply.etag)
        if reply.type and "metadata-flavor" in headers:
            self.send_header("Metadata-Flavor", headers["metadata-flavor"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815 - names of the base class

    def log_message(self, format: str, *args: object) -> None:
        _LOG.debug(format, *args)
