"""From where instances may be reached: the settings' networks, else this client's own address."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from byoc.clock import SYSTEM, SystemClock
from byoc.errors import AccessError, BadRequestError
from byoc.providers import gates, ingress


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


class Checker6(http.server.HTTPServer):
    """The same by IPv6."""

    address_family = socket.AF_INET6


def test_an_ipv6_computer_is_asked_for_its_ipv4_address(
    checker: tuple[str, type[Checker]],
) -> None:
    """Machines have IPv4 addresses only: a client that prefers IPv6 asks by IPv4, so that the
    address is the one by which they are met."""
    url, handler = checker
    port = int(url.rpartition(":")[2])

    class Six(Checker):
        told = b"2001:db8::7"

    try:
        server = Checker6(("::1", port), Six)
    except OSError:
        pytest.skip("this host has no IPv6 loopback")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        name = f"http://localhost:{port}"
        assert ingress.own_for_ipv4({}, SYSTEM, name) == "203.0.113.7/32"
        assert ingress.own({}, SYSTEM, f"http://[::1]:{port}") == "2001:db8::7/128"
        assert (handler.asked, Six.asked) == (1, 1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_computer_without_ipv4_is_told(checker: tuple[str, type[Checker]]) -> None:
    """Where every answer is an IPv6 address no machine would ever be met: that is said, with what
    helps."""
    url, handler = checker
    handler.told = b"2001:db8::7"
    with pytest.raises(AccessError, match="IPv6 only") as caught:
        ingress.Ingress("", {}, SYSTEM, url).networks("https://ec2.us-east-1.amazonaws.com")
    assert any("jump" in hint for hint in caught.value.hints)


def test_networks_of_ipv6_alone_are_refused() -> None:
    """An ingress that no machine can be met from is said before one is launched."""
    with pytest.raises(BadRequestError, match="IPv4"):
        ingress.Ingress("2001:db8::/32", {}, SYSTEM).networks("https://example.com")


@pytest.mark.parametrize(
    ("ours", "allowed", "others", "missing", "stale"),
    [
        ((), ("a",), (), ("a",), ()),
        (("a",), ("a",), (), (), ()),
        (("a", "b"), ("b", "c"), (), ("c",), ("a",)),
        (("a",), ("b",), ("b", "x"), (), ("a",)),
        ((), ("a", "a"), (), ("a",), ()),
    ],
)
def test_what_makes_a_firewall_right(
    ours: tuple[str, ...],
    allowed: tuple[str, ...],
    others: tuple[str, ...],
    missing: tuple[str, ...],
    stale: tuple[str, ...],
) -> None:
    """What is let in and not allowed any more goes, what is allowed and not let in comes, and what
    somebody else has let in stays."""
    found = gates.change(ours, allowed, others)
    assert found == (missing, stale)
    assert bool(found) is bool(missing or stale)
