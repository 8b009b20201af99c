"""A stand-in for clouds' metadata services, in a network namespace of its own.

    unshare --net python metadata.py FOLDER CMD...

Serves what the files in FOLDER say at the link-local address, which only this namespace's loopback
has, and becomes CMD. Refuses to run where any other interface is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.helpers import until

ADDRESS = "169.254.169.254"
TOKEN = "the-token"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class Service(BaseHTTPRequestHandler):
    """Strict as the real ones: without its headers nothing is told."""

    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_PUT(self) -> None:
        """A session token."""
        life = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        if self.path == "/latest/api/token" and life:
            self._say(200, TOKEN)
        else:
            self._say(400)

    def do_GET(self) -> None:
        """A document: the file of that name."""
        path, _, query = self.path.partition("?")
        if path == PREEMPTED:
            self._preempted(query)
        elif self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._say(401)
        else:
            file = self.folder / path.rpartition("/")[2]
            self._say(200, file.read_text()) if file.exists() else self._say(404)

    def _preempted(self, query: str) -> None:
        if self.headers.get("Metadata-Flavor") != "Google":
            self._say(403)
            return
        word = self.folder / "preempted"
        if "wait_for_change=true" in query:
            until(word.exists, 60)
        self._say(200, "TRUE" if word.exists() else "FALSE")

    def _say(self, status: int, text: str = "") -> None:
        with (self.folder / "asked").open("a") as file:
            file.write(f"{self.command} {self.path} {status}\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("ETag", "0a1b")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main(folder: str, *command: str) -> None:
    """Serve, and become the command."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        sys.exit("not in a network namespace of its own")
    for words in ("link set lo up", f"address add {ADDRESS}/32 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    Service.folder = Path(folder)
    server = ThreadingHTTPServer((ADDRESS, 80), Service)
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        for number in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        server.serve_forever(0.01)
    server.server_close()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
