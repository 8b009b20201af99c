"""From where instances may be reached: the settings' networks, else this client's own address."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from byoc.clock import SYSTEM, SystemClock
from byoc.errors import AccessError
from byoc.providers import ingress


class Checker(http.server.BaseHTTPRequestHandler):
    """Answers as checkip.amazonaws.com does."""

    told = b"203.0.113.7\n"
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.told)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def checker() -> Iterator[tuple[str, type[Checker]]]:
    """A service on loopback that tells an address, and its handler."""

    class Own(Checker):
        pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Own
    server.shutdown()
    thread.join()
    server.server_close()


class Later(SystemClock):
    """A clock that can be moved."""

    ahead = 0.0

    def mono(self) -> float:
        return super().mono() + self.ahead


@pytest.mark.parametrize(
    ("told", "network"),
    [(b"203.0.113.7\n", "203.0.113.7/32"), (b"2001:db8::7", "2001:db8::7/128")],
)
def test_an_address_is_a_network_of_one(
    checker: tuple[str, type[Checker]], told: bytes, network: str
) -> None:
    """The address that the service tells, IPv4 or IPv6, with its full prefix."""
    url, handler = checker
    handler.told = told
    assert ingress.own({}, SYSTEM, url) == network


@pytest.mark.parametrize("told", [b"<html>", b"", b"0" * 1000, b"\xff\xfe"])
def test_anything_else_is_no_address(checker: tuple[str, type[Checker]], told: bytes) -> None:
    """What is no address opens no door: it is an error that says what to set."""
    url, handler = checker
    handler.told = told
    with pytest.raises(AccessError) as caught:
        ingress.own({}, SYSTEM, url)
    assert "BYOC_INGRESS" in caught.value.hints[0]


def test_nobody_there_is_an_error() -> None:
    """Without the service the address cannot be told, and everybody is never let in instead."""
    with pytest.raises(AccessError):
        ingress.own({}, SYSTEM, "http://127.0.0.1:9")


def test_the_settings_have_precedence(checker: tuple[str, type[Checker]]) -> None:
    """Networks of the settings are taken as they are, and nobody is asked."""
    url, handler = checker
    given = ingress.Ingress("10.0.0.0/8, 2001:db8::/32,", {}, SYSTEM, url)
    assert given.networks("https://ec2.us-east-1.amazonaws.com") == ("10.0.0.0/8", "2001:db8::/32")
    assert handler.asked == 0


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:5055", "http://localhost:1", "http://[::1]:80/x"]
)
def test_an_emulated_cloud_is_met_on_loopback(
    checker: tuple[str, type[Checker]], endpoint: str
) -> None:
    """With an endpoint on this computer the client is there too, and nobody is asked."""
    url, handler = checker
    assert ingress.Ingress("", {}, SYSTEM, url).networks(endpoint) == ("127.0.0.1/32",)
    assert handler.asked == 0


def test_the_address_is_asked_for_again_after_a_while(
    checker: tuple[str, type[Checker]],
) -> None:
    """An answer is kept for minutes, so that a laptop that moved is noticed."""
    url, handler = checker
    clock = Later()
    one = ingress.Ingress("", {}, clock, url)
    endpoint = "https://ec2.us-east-1.amazonaws.com"
    assert one.networks(endpoint) == one.networks(endpoint) == ("203.0.113.7/32",)
    assert handler.asked == 1
    handler.told, clock.ahead = b"198.51.100.1", ingress.KEEP + 1
    assert one.networks(endpoint) == ("198.51.100.1/32",)


@pytest.mark.parametrize("endpoint", ["", "https://ec2.us-east-1.amazonaws.com", "http://10.0.0.1"])
def test_other_endpoints_are_elsewhere(endpoint: str) -> None:
    """Only loopback is this computer."""
    assert not ingress.is_loopback(endpoint)
