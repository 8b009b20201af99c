"""``byoc prices refresh``: the clouds' lists read to their end, and nothing replaced otherwise."""

from __future__ import annotations

import http.server
import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from byoc import providers, settings
from byoc.clock import SYSTEM, SystemClock
from byoc.errors import AccessError, ProviderError, TransientError
from byoc.pricing import catalog
from byoc.pricing.refresh.quotes import Live
from byoc.providers.lists import TRIES, Asking
from tests.cli.harness import Said, byoc, environment
from tests.clouds.accounts import opened
from tests.clouds.aws.conftest import fault
from tests.pricing.lists import part, sku

NOTHING: Mapping[str, str] = MappingProxyType({})


class Hasty(SystemClock):
    """Pauses take no time, and are counted."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def narrow(cloud: str, *regions: str) -> catalog.Snapshot:
    """The packaged catalogue, of some regions only."""
    last = catalog.packaged(cloud)
    places = {key: at for key, at in last.places.items() if not regions or key[0] in regions}
    return last._replace(places=places)


def asked(
    cloud: str,
    options: Mapping[str, str],
    last: catalog.Snapshot | None = None,
    clock: SystemClock = SYSTEM,
    environ: Mapping[str, str] = NOTHING,
) -> Live:
    told: list[str] = []
    last = last or catalog.packaged(cloud)
    found = providers.live(cloud, Asking(environ, clock, options, last, told.append))
    assert told
    return found


# --- AWS, by the emulated account ---------------------------------------------------------------


def aws(*regions: str) -> Live:
    options = settings.load(Path.cwd(), os.environ).of_cloud("aws")
    return asked("aws", options, narrow("aws", *regions), environ=os.environ)


def test_every_page_of_every_region_is_read() -> None:
    """On-demand prices are the account's own list, of all its pages; a spot price is the cheapest
    zone's, which is named by its id."""
    with opened("emulated-aws"):
        found = aws("us-east-1", "eu-west-1")
    last = narrow("aws", "us-east-1", "eu-west-1")
    known = {k: last.offers[at].price for k, at in last.places.items() if k[2] == "on-demand"}
    listed = {k: one.dollars for k, one in found.quotes.items() if k[2] == "on-demand"}
    assert listed == pytest.approx(known) and ("us-east-1", "g4dn.metal", "on-demand") in listed
    key = ("us-east-1", "p5.48xlarge", "spot")
    assert found.quotes[key].dollars == pytest.approx(last.offers[last.places[key]].price)
    assert "cheapest in use1-az" in found.quotes[key].source
    assert found.regions == {"us-east-1", "eu-west-1"} and found.places and found.emulated
    assert (found.new, found.unread, found.doubts) == ((), 0, ())


def test_a_region_that_is_not_enabled_is_skipped() -> None:
    """Its keys are nothing there: the other regions are read, and this one is told."""
    last = narrow("aws", "us-east-1")
    place = next(iter(last.places.values()))
    last.places["eu-south-2", "g6.xlarge", "on-demand"] = place
    with opened("emulated-aws"):
        options = settings.load(Path.cwd(), os.environ).of_cloud("aws")
        found = asked("aws", options, last, environ=os.environ)
    assert set(found.skipped) == {"eu-south-2"} and found.regions == {"us-east-1"}


def test_zones_may_stay_unnamed() -> None:
    """Without the permission to ask which zones there are, spot prices come all the same."""
    with opened("emulated-aws", fault("DescribeAvailabilityZones", "deny", 99)):
        found = aws("us-east-1")
    spot = [one for key, one in found.quotes.items() if key[2] == "spot"]
    assert spot and not any("cheapest in" in one.source for one in spot)


@pytest.mark.parametrize("operation", ["GetProducts", "DescribeSpotPriceHistory"])
def test_a_missing_permission_is_named(operation: str) -> None:
    """Nothing is known then, and the hint says what to allow."""
    with (
        opened("emulated-aws", fault(operation, "deny", 99)),
        pytest.raises(AccessError) as caught,
    ):
        aws("us-east-1")
    assert any(operation in hint for hint in caught.value.hints)


# --- GCP and OCI, by recorded pages -------------------------------------------------------------


class Lists:
    """A server on loopback with pages by path. ``requests``: the queries that it got.

    A page is an object, a text that is sent as it is, a status, or None: the connection is cut in
    the middle of an answer. Of several pages of a path each request gets the next, of the last all
    that follow.
    """

    def __init__(self) -> None:
        self.pages: dict[str, list[Any]] = {}
        self.requests: list[dict[str, list[str]]] = []
        lists = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                lists.requests.append(urllib.parse.parse_qs(parts.query))
                self.answer(lists.next(parts.path))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}
                self.answer(token)

            def answer(self, page: Any) -> None:
                status = page if isinstance(page, int) else 200
                if isinstance(page, int):
                    page = {"error": {"code": page, "message": "no", "errors": []}}
                body = page if isinstance(page, str) else json.dumps(page)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body) + (page is None)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def next(self, path: str) -> Any:
        pages = self.pages.get(path) or [404]
        return pages.pop(0) if len(pages) > 1 else pages[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def lists() -> Iterator[Lists]:
    """Started, and ended with the test."""
    server = Lists()
    yield server
    server.close()


@pytest.fixture(scope="module")
def private() -> str:
    """A key for a service account that no Google knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def google(lists: Lists, private: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a project that is served by ``lists``."""
    file = tmp_path / "key.json"
    account = {
        "type": "service_account", "project_id": "p", "private_key_id": "k",
        "private_key": private, "client_email": "a@p.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": f"{lists.url}/token",
    }  # fmt: skip
    file.write_text(json.dumps(account))
    return {"endpoint": lists.url, "project": "p", "key_file": str(file)}


SKUS, PRODUCTS = "/v1/services/6F81-5844-456A/skus", "/pls/apex/cetools/api/v1/products/"
GPUS = {"T4": 0.35, "P4": 0.6, "P100": 1.46, "V100": 2.48, "A100": 2.933908}


def skus() -> list[dict[str, Any]]:
    """SKUs for what the catalogue has, in all its regions at once."""
    regions = catalog.packaged("gcp")
    places = sorted({key[0] for key in regions.places})
    parts = {f"Nvidia Tesla {name} GPU": price for name, price in GPUS.items()}
    parts |= {"Nvidia Tesla A100 80GB GPU": 3.92808, "Nvidia L4 GPU": 0.56004}
    parts |= {"Nvidia H100 80GB GPU": 9.8, "RTX 6000 96GB": 2.2}
    for family in ("N1 Predefined", "A2", "A3", "E2", "N2", "C3", "C4A Arm", "G2", "G4"):
        parts |= {f"{family} Instance Core": 0.031611, f"{family} Instance Ram": 0.004237}
    found = []
    for name, price in parts.items():
        found.append(sku(f"{name} running in Everywhere", price, *places))
        text = f"Spot Preemptible {name} running in Everywhere"
        if name.startswith(("Nvidia", "RTX")):
            text = f"{name} attached to Spot Preemptible VMs running in Everywhere"
        found.append(sku(text, price * 0.4, *places))
    found.append(sku("SSD backed Local Storage", 0.08, *places))
    found.append(sku("SSD backed Local Storage attached to Spot Preemptible VMs", 0.0428, *places))
    return found


def in_pages(entries: list[Any], size: int) -> list[dict[str, Any]]:
    """Google's pages: each but the last names the next."""
    parts = [entries[at : at + size] for at in range(0, len(entries), size)]
    pages: list[dict[str, Any]] = [{"skus": one, "nextPageToken": ""} for one in parts]
    for number, page in enumerate(pages[:-1], 1):
        page["nextPageToken"] = f"token/{number}"
    return pages


PARTS = [
    part("B98415", "Compute - GPU - H100", 10.0),
    part("B110519", "Compute - GPU - H200", 10.0),
    part("B95909", "Compute - GPU - A10", 2.0),
    part("B95907", "Compute - GPU - A100 80GB", 4.0),
    part("B92740", "Compute - GPU - A100", 3.05),
    part("B109479", "Compute - GPU - L40S", 3.5),
    part("B89734", "Compute - GPU - V100", 2.95),
    part("B93113", "Compute - E4 - OCPU", 0.025, metric="OCPU Per Hour"),
    part("B93114", "Compute - E4 - Memory", 0.0015, metric="Gigabyte Per Hour"),
    part("B97384", "Compute - E5 - OCPU", 0.03, metric="OCPU Per Hour"),
    part("B97385", "Compute - E5 - Memory", 0.002, metric="Gigabyte Per Hour"),
    part("B111129", "Compute - E6 - OCPU", 0.03, metric="OCPU Per Hour"),
    part("B111130", "Compute - E6 - Memory", 0.002, metric="Gigabyte Per Hour"),
    part("B93297", "Compute - A1 - OCPU", 0.0, 0.01, metric="OCPU Per Hour"),
    part("B93298", "Compute - A1 - Memory", 0.0, 0.0015, metric="Gigabyte Per Hour"),
]


def test_all_pages_of_skus_are_read(lists: Lists, google: dict[str, str]) -> None:
    """Page after page by its token, in dollars; what is asked again after a failure counts once."""
    lists.pages[SKUS] = [503, *in_pages(skus(), 7)]
    clock = Hasty()
    found = asked("gcp", google, clock=clock)
    t4 = ("us-central1", "n1-standard-4+nvidia-tesla-t4x1", "on-demand")
    assert found.quotes[t4].dollars == pytest.approx(0.539999)
    assert found.quotes["us-central1", "g2-standard-4", "spot"].dollars > 0
    assert found.unread == 0 and not found.doubts and found.emulated and clock.pauses == [1.0]
    tokens = [one.get("pageToken", [""])[0] for one in lists.requests]
    assert tokens[:4] == ["", "", "token/1", "token/2"] and len(set(tokens)) == len(tokens) - 1
    assert all(one["currencyCode"] == ["USD"] for one in lists.requests)


@pytest.mark.parametrize("offset", [False, True])
def test_all_pages_of_products_are_read(lists: Lists, offset: bool) -> None:
    """Oracle's list comes whole; should it come in pages, all of them are read."""
    pages: list[Any] = [{"items": PARTS}]
    if offset:
        pages = [{"items": PARTS[:8], "hasMore": True}, {"items": PARTS[8:], "hasMore": False}]
    lists.pages[PRODUCTS] = pages
    found = asked("oci", {"endpoint": lists.url})
    assert found.quotes["us-phoenix-1", "BM.GPU.H100.8", "on-demand"].dollars == 80.0
    assert found.quotes["us-phoenix-1", "VM.Standard.A1.Flex:2o-12g", "on-demand"].dollars > 0
    assert [one.get("offset") for one in lists.requests] == ([None, ["8"]] if offset else [None])


BROKEN: list[Any] = [
    '{"skus": [{"descr',
    "[]",
    "null",
    '{"skus": 7, "items": 7}',
    "",
    None,
    500,
    404,
]


@pytest.mark.parametrize("page", BROKEN, ids=repr)
@pytest.mark.parametrize("first", [True, False])
def test_a_page_that_is_none_ends_it(
    lists: Lists, google: dict[str, str], page: Any, first: bool
) -> None:
    """Cut short, of another shape, refused or cut off, at the beginning or in the middle: there are
    no prices then, only an error of ours."""
    before = [] if first else [in_pages(skus(), 7)[0]]
    lists.pages[SKUS] = [*before, page]
    with pytest.raises(ProviderError):
        asked("gcp", google, clock=Hasty())
    lists.pages[PRODUCTS] = [page] if first else [{"items": PARTS[:8], "hasMore": True}, page]
    clock = Hasty()
    with pytest.raises(TransientError, match="price list of oci"):
        asked("oci", {"endpoint": lists.url}, clock=clock)
    assert len(clock.pauses) in (0, TRIES - 1)


def test_pages_that_never_end_are_given_up(lists: Lists, google: dict[str, str]) -> None:
    """A token that comes again, and a page without anything that says that there is more."""
    lists.pages[SKUS] = [{"skus": [], "nextPageToken": "same"}]
    with pytest.raises(TransientError, match="earlier one"):
        asked("gcp", google)
    lists.pages[PRODUCTS] = [{"items": [], "hasMore": True}]
    with pytest.raises(TransientError, match="earlier one"):
        asked("oci", {"endpoint": lists.url})


def test_a_refused_key_is_told_with_what_to_do(lists: Lists, google: dict[str, str]) -> None:
    """The API may be off in the project: the hint turns it on."""
    lists.pages[SKUS] = [403]
    with pytest.raises(AccessError) as caught:
        asked("gcp", google)
    assert any("cloudbilling.googleapis.com" in hint for hint in caught.value.hints)


# --- the command --------------------------------------------------------------------------------

Run = Callable[..., Said]


@pytest.fixture
def prices(lists: Lists, google: dict[str, str], tmp_path: Path) -> Run:
    """Runs ``byoc``, whose GCP and OCI are ``lists``; AWS cannot be used."""
    env = environment(
        tmp_path / "home",
        BYOC_GCP_ENDPOINT=lists.url,
        BYOC_GCP_PROJECT="p",
        BYOC_GCP_KEY_FILE=google["key_file"],
        BYOC_OCI_ENDPOINT=lists.url,
        AWS_ACCESS_KEY_ID="",
        AWS_CONFIG_FILE=str(tmp_path / "none"),
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "none"),
    )
    lists.pages = {SKUS: in_pages(skus(), 9), PRODUCTS: [{"items": PARTS}]}
    return lambda *args: byoc([*args], tmp_path, env)


def data(said: Said) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.out)
    assert found["exit_code"] == said.code
    clouds: dict[str, Any] = found["clouds"]
    return clouds


def test_a_refresh_is_what_gpus_tell(prices: Run, lists: Lists, tmp_path: Path) -> None:
    """After it `byoc gpus` has the new prices with today's date, and the status says so; what
    jumped is told and held back, and taken with --accept."""
    before = data(prices("prices", "--json"))
    assert not any(one["refreshed"] for one in before.values())
    dear = [{**one} for one in PARTS if one["partNumber"] != "B98415"]
    lists.pages[PRODUCTS] = [{"items": [*dear, part("B98415", "GPU - H100", 31.0)]}]
    said = prices("prices", "refresh", "--cloud", "oci,gcp")
    assert said.code == 0, said
    assert "held back: 14" in said.out and "BM.GPU.H100.8 on-demand: $248, $80 before" in said.out
    state = data(prices("prices", "status", "--json"))
    assert state["oci"]["refreshed"] and state["gcp"]["refreshed"] and not state["aws"]["refreshed"]
    assert state["oci"]["newest"] > "2026-08" and state["aws"] == before["aws"]
    told = json.loads(prices("gpus", "A10:1", "--cloud", "oci", "--json").out)["gpus"][0]["offers"]
    assert {one["price_date"] for one in told} == {state["oci"]["newest"]}
    assert "emulated: OCI public price list, B95909" in told[0]["price_source"]
    accepted = data(prices("prices", "refresh", "--accept", "--cloud", "oci", "--json"))
    assert accepted["oci"]["held"] == [] and accepted["oci"]["prices"] > 500
    folder = tmp_path / "home" / "prices"
    assert sorted(file.name for file in folder.iterdir()) == ["gcp.tsv", "oci.tsv"]


def test_a_failure_replaces_nothing(prices: Run, lists: Lists, tmp_path: Path) -> None:
    """A list that ends in the middle, or lacks half of what is known, leaves the cloud's prices as
    they were; the others are refreshed, and the exit code is 4."""
    file = tmp_path / "home" / "prices" / "gcp.tsv"
    lists.pages[SKUS] = [*in_pages(skus(), 9)[:1], '{"skus": [']
    said = prices("prices", "refresh", "--cloud", "gcp", "--cloud", "oci")
    assert said.code == 4 and "gcp: the price list of gcp cannot be read" in said.err
    assert "oci: " in said.out and not file.exists()
    assert file.with_name("oci.tsv").exists()
    before = file.with_name("oci.tsv").read_bytes()
    lists.pages[PRODUCTS] = [{"items": PARTS[:4]}]
    cut = prices("prices", "refresh", "--cloud", "oci", "--json")
    assert cut.code == 4 and "not complete" in data(cut)["oci"]["error"]["message"]
    assert file.with_name("oci.tsv").read_bytes() == before


def test_without_a_cloud_those_that_can_be_asked_are(prices: Run) -> None:
    """Where no cloud is configured, one without credentials is left out and is no failure; asked
    for by name, it is one."""
    said = prices("prices", "refresh")
    assert said.code == 0 and "aws: left out: " in said.out and "gcp: " in said.out
    named = prices("prices", "refresh", "--cloud", "aws")
    assert named.code == 4 and "error: aws: " in named.err and "hint: " in named.err
    assert "the last prices of aws are kept" in named.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["refesh"], "there is no 'byoc prices refesh'"),
        (["refresh", "--cloud", "azure"], "there is no cloud 'azure'"),
        (["refresh", "--cloud", "local"], "'local' has no prices"),
        (["status", "--accept"], "--accept is an option"),
    ],
)
def test_wrong_words_are_refused(prices: Run, args: list[str], said: str) -> None:
    """What cannot be meant exits with 2 and says what could be."""
    done = prices("prices", *args)
    assert done.code == 2 and said in done.err


def test_the_whole_of_the_emulated_account_is_refreshed(tmp_path: Path) -> None:
    """The command, from the account's own lists to a file that is used from then on."""
    with opened("emulated-aws"):
        env = {**os.environ, "BYOC_HOME": str(tmp_path / "home")}
        said = byoc(["prices", "refresh", "--cloud", "aws", "--json"], tmp_path, env)
        found = data(said)["aws"]
        assert said.code == 0 and found["error"] is None and found["held"] == []
        state = data(byoc(["prices", "--json"], tmp_path, env))["aws"]
        assert state["refreshed"] and state["spot"]["unknown"] == 0
