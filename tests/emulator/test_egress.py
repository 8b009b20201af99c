"""The way out that machines may be given."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.emulator.conftest import MakeWorld
from tests.emulator.machines import boot, real_machines, wait_up

pytestmark = [real_machines, pytest.mark.timeout(60)]

GET = (
    "python3 -c \"import urllib.request as u; print(u.urlopen('{}', timeout=5).read().decode())\""
    " 2>&1 | tail -1"
)


class _Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"you asked for {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package index on loopback that this host's settings name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/simple"
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", url)
        yield url
        server.shutdown()


def test_packages_are_reached_and_private_places_are_not(make_world: MakeWorld, index: str) -> None:
    """The index of the host's settings is; other loopback ports and link-local numbers are not."""
    world = make_world("[boot]\negress = true")
    booted = boot(world)
    wait_up(booted)
    clear = "env -u NO_PROXY -u no_proxy "
    assert booted.run(clear + GET.format(index + "/x"))[1] == "you asked for /simple/x\n"
    other = index.replace(index.rpartition(":")[2].partition("/")[0], "9")
    for place in (other, "http://169.254.169.254/latest", "http://localhost:22/"):
        assert "HTTP Error 403" in booted.run(clear + GET.format(place))[1], place
    assert booted.run("echo $PIP_INDEX_URL")[1] == index + "\n"


def test_there_is_no_way_out_unless_asked_for(make_world: MakeWorld, index: str) -> None:
    """Without it there is no proxy, and nothing in the environment speaks of one."""
    world = make_world()
    booted = boot(world)
    wait_up(booted)
    assert booted.run("env | grep -ci -e proxy -e index")[1] == "0\n"
    assert "rror" in booted.run(GET.format(index))[1]
