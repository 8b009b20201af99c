"""The emulated project itself, read by a second client of Google's and over plain HTTP."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from google.auth import jwt
from google.oauth2 import service_account
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from byoc.emulator.gcp import discovery, filters, metadata, refusals, stock
from byoc.emulator.gcp.account import OWNER
from byoc.pricing import catalog
from tests.clouds.accounts import Account
from tests.clouds.gcp.conftest import INSERT, ZONE, Open, fault, offer
from tests.helpers import until

PROJECT = "byoc-emulated"
BODY: dict[str, Any] = {
    "name": "plain",
    "machineType": f"zones/{ZONE}/machineTypes/e2-medium",
    "disks": [
        {
            "boot": True,
            "autoDelete": True,
            "initializeParams": {
                "sourceImage": "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts"
            },
        }
    ],
    "networkInterfaces": [{"network": "global/networks/default"}],
}


@pytest.fixture
def compute(gcp: Account) -> Iterator[Any]:
    """google-api-python-client, which knows nothing of google-cloud-compute or byoc."""
    with closing(_client()) as client:
        yield client


def _client() -> Any:
    key = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    scopes = ["https://www.googleapis.com/auth/compute"]
    login = service_account.Credentials.from_service_account_file(key, scopes=scopes)
    endpoint = os.environ["BYOC_GCP_ENDPOINT"] + "/compute/v1/"
    return build(
        "compute", "v1", credentials=login.with_universe_domain("emulated.invalid"),
        static_discovery=True,
        client_options={"api_endpoint": endpoint, "universe_domain": "emulated.invalid"},
    )  # fmt: skip


def _insert(compute: Any, **changes: Any) -> dict[str, Any]:
    body = {**BODY, **changes}
    answer = compute.instances().insert(project=PROJECT, zone=ZONE, body=body).execute()
    assert isinstance(answer, dict)
    return answer


def _done(compute: Any, operation: dict[str, Any]) -> dict[str, Any]:
    answer = compute.zoneOperations().wait(
        project=PROJECT, zone=ZONE, operation=operation["name"]
    )  # fmt: skip
    found = answer.execute()
    assert found["status"] == "DONE"
    return dict(found)


def _refused(compute: Any, **changes: Any) -> tuple[int, str, str]:
    with pytest.raises(HttpError) as caught:
        _insert(compute, **changes)
    detail = caught.value.error_details[0]
    return caught.value.status_code, detail["reason"], detail["message"]


def test_another_client_sees_what_the_adapter_made(gcp: Account, compute: Any) -> None:
    """Names, labels, GPUs, scheduling and address are as the adapter says."""
    launched = gcp.provider.launch(gcp.request(offer("n1-standard-4+nvidia-tesla-t4x1", "spot")))
    found = gcp.running(launched.id)
    name = launched.id.split("/")[1]
    seen = compute.instances().get(project=PROJECT, zone=ZONE, instance=name).execute()
    assert seen["status"] == "RUNNING" and seen["labels"]["byoc-managed"] == "1"
    (card,) = seen["guestAccelerators"]
    assert card["acceleratorType"].endswith("/nvidia-tesla-t4")
    assert seen["scheduling"]["provisioningModel"] == "SPOT"
    assert seen["networkInterfaces"][0]["accessConfigs"][0]["natIP"] == found.address


def test_another_client_makes_and_ends_an_instance(compute: Any) -> None:
    """Insert, wait, list by pages, delete: the plain life of an instance."""
    assert "error" not in _done(compute, _insert(compute))
    listed = compute.instances().list(project=PROJECT, zone=ZONE, maxResults=1).execute()
    assert [item["name"] for item in listed["items"]] == ["plain"]
    ended = compute.instances().delete(project=PROJECT, zone=ZONE, instance="plain").execute()
    assert "error" not in _done(compute, ended)
    assert not compute.instances().list(project=PROJECT, zone=ZONE).execute()["items"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"name": "Bad_Name"}, 400, "resource.name"),
        ({"colour": "red"}, 400, 'Unknown name "colour"'),
        ({"machineType": "e2-medium"}, 400, "URL is malformed"),
        ({"machineType": f"zones/{ZONE}/machineTypes/e9"}, 400, "does not exist in zone"),
        ({"disks": []}, 400, "boot=true"),
        ({"networkInterfaces": []}, 400, "network interface"),
        ({"networkInterfaces": [{"network": "global/networks/none"}]}, 404, "networks/none"),
        ({"labels": {"byoc:run": "1"}}, 400, "Label"),
        ({"scheduling": {"provisioningModel": "SPOTTY"}}, 400, "Must be one of"),
        ({"scheduling": {"maxRunDuration": {"seconds": "5"}}}, 400, "30 seconds"),
        ({"scheduling": {"instanceTerminationAction": "DELETE"}}, 400, "run limit"),
        ({"scheduling": {"preemptionNoticeDuration": {"seconds": "120"}}}, 400, "SPOT"),
        ({"scheduling": {"provisioningModel": "SPOT", "automaticRestart": True}}, 400, "preempt"),
        ({"machineType": f"zones/{ZONE}/machineTypes/g2-standard-4"}, 400, "live migration"),
        ({"machineType": f"zones/{ZONE}/machineTypes/c4a-standard-2"}, 400, "architecture"),
        (
            {"guestAccelerators": [
                {"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-l4",
                 "acceleratorCount": 1}]},
            400, "not compatible",
        ),
        (
            {"guestAccelerators": [
                {"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-x9"}]},
            404, "nvidia-x9",
        ),
    ],
)  # fmt: skip
def test_what_google_would_refuse_is_refused(
    compute: Any, changes: dict[str, Any], status: int, words: str
) -> None:
    """Wrong requests are refused with Google's status and words, by schema or by rule."""
    got, reason, message = _refused(compute, **changes)
    assert got == status and words in message and reason in ("invalid", "badRequest", "notFound")


def _disk(**params: str) -> dict[str, Any]:
    first = BODY["disks"][0]
    return {"disks": [{**first, "initializeParams": {**first["initializeParams"], **params}}]}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"diskSizeGb": "5"}, "cannot be smaller"),
        ({"sourceImage": "projects/x/global/images/y"}, "not found"),
        ({"diskType": f"zones/{ZONE}/diskTypes/floppy"}, "not found"),
    ],
)
def test_disks_are_checked(compute: Any, params: dict[str, str], words: str) -> None:
    """Size, image and kind of the boot disk."""
    assert words in _refused(compute, **_disk(**params))[2]


def test_what_is_not_emulated_says_so(compute: Any) -> None:
    """A method of the API that is left out answers 501 with its name."""
    with pytest.raises(HttpError) as caught:
        compute.routers().list(project=PROJECT, region="us-central1").execute()
    assert caught.value.status_code == 501 and "compute.routers.list" in str(caught.value)


def test_labels_change_by_their_fingerprint(compute: Any) -> None:
    """A change from an old reading is refused."""
    _done(compute, _insert(compute))
    where = {"project": PROJECT, "zone": ZONE, "instance": "plain"}
    old = compute.instances().get(**where).execute()["labelFingerprint"]
    body = {"labels": {"a": "1"}, "labelFingerprint": old}
    compute.instances().setLabels(**where, body=body).execute()
    with pytest.raises(HttpError) as caught:
        compute.instances().setLabels(**where, body=body).execute()
    assert caught.value.status_code == 412
    assert compute.instances().get(**where).execute()["labels"] == {"a": "1"}


def test_a_stopped_instance_stays(compute: Any) -> None:
    """Stop leaves the instance and its disk."""
    _done(compute, _insert(compute))
    where = {"project": PROJECT, "zone": ZONE, "instance": "plain"}
    until(lambda: compute.instances().get(**where).execute()["status"] == "RUNNING")
    _done(compute, compute.instances().stop(**where).execute())
    until(lambda: compute.instances().get(**where).execute()["status"] == "TERMINATED")
    assert compute.disks().list(project=PROJECT, zone=ZONE).execute()["items"]


def test_every_answer_is_checked(
    gcp: Account, compute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that drifts from Google's description is the emulator's own fault, loudly."""
    handlers = gcp.world.facades()[0]._server._http.RequestHandlerClass.desk._handlers
    handlers["compute.projects.get"] = lambda call: {"colour": "red"}
    with pytest.raises(HttpError) as caught:
        compute.projects().get(project=PROJECT).execute()
    assert caught.value.status_code == 500 and "colour" in caught.value.reason
    assert "compute.projects.get" in caplog.text


@pytest.mark.parametrize(
    "what", ["machineTypes", "acceleratorTypes", "diskTypes", "disks", "instances"]
)
def test_lists_over_all_zones_are_complete(compute: Any, what: str) -> None:
    """Aggregated lists name every zone, by pages, and pass Google's description."""
    zones: set[str] = set()
    request = getattr(compute, what)().aggregatedList(project=PROJECT, maxResults=400)
    while request is not None:
        answer = request.execute()
        zones |= set(answer["items"])
        request = getattr(compute, what)().aggregatedList_next(request, answer)
    assert zones == {f"zones/{zone}" for zone in stock.zones()}


def test_the_catalogue_is_on_sale() -> None:
    """Every type of the catalogue has its machine here, with the GPUs that its offer tells."""
    for name in catalog.types("gcp"):
        spec = catalog.spec("gcp", name)
        attached = stock.ATTACHED.fullmatch(name)
        machine = stock.machines()[attached["machine"] if attached else name]
        assert spec is not None and machine.cpus == spec.vcpus
        cards = int(attached["count"]) if attached else machine.cards
        assert cards == spec.gpu_count
        card = attached["card"] if attached else machine.card
        assert not cards or card in stock.METRICS


def _ask(path: str, token: str = "", data: bytes | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = os.environ["BYOC_GCP_ENDPOINT"] + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_nobody_is_let_in_without_a_token(gcp: Account) -> None:
    """No token, a made-up one, and an expired one are all refused, with 401."""
    path = f"/compute/v1/projects/{PROJECT}"
    account = gcp.world.facades()[0]._account
    late = account.issue(OWNER, gcp.world.wall() - 7200)["access_token"]
    good = account.issue(OWNER, gcp.world.wall())["access_token"]
    assert [_ask(path, token)[0] for token in ("", "ya29.nobody", "a.b.c", late)] == [401] * 4
    assert _ask(path, good)[0] == 200


def test_a_key_is_exchanged_for_a_token(gcp: Account) -> None:
    """The token endpoint takes a signed assertion, as gcloud and libcloud send it."""
    key = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    login = service_account.Credentials.from_service_account_file(key)
    now = int(gcp.world.wall())
    claims = {"iss": login.service_account_email, "iat": now, "exp": now + 600, "aud": "x"}
    signed = jwt.encode(login.signer, claims).decode()
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": signed}
    status, token = _ask("/token", data=urllib.parse.urlencode(grant).encode())
    assert status == 200 and token["expires_in"] > 3000
    assert _ask(f"/compute/v1/projects/{PROJECT}", token["access_token"])[0] == 200
    form = urllib.parse.urlencode({"grant_type": "password"}).encode()
    assert _ask("/token", data=form)[0] == 400


def test_the_key_is_the_users_alone(gcp: Account) -> None:
    """Nobody else of this computer may read it."""
    assert os.stat(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("/compute/v1/projects/other", 404), ("/nothing", 404),
     (f"/compute/v1/projects/{PROJECT}/zones/us-mars1-a/instances", 400),
     (f"/compute/v1/projects/{PROJECT}/regions/us-mars1", 400),
     (f"/compute/v1/projects/{PROJECT}/zones?colour=red", 400),
     (f"/compute/v1/projects/{PROJECT}/zones?filter=%25", 400),
     (f"/compute/v1/projects/{PROJECT}/zones?maxResults=many", 400),
     (f"/compute/v1/projects/{PROJECT}/zones?pageToken=first", 400)],
)  # fmt: skip
def test_wrong_addresses_are_refused(gcp: Account, path: str, status: int) -> None:
    """Places, parameters and pages that do not exist."""
    token = gcp.world.facades()[0]._account.issue(OWNER, gcp.world.wall())["access_token"]
    assert _ask(path, token)[0] == status


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('labels.a-b = "1"', True), ("labels.a-b=2", False), ("(name = x) OR (name = y)", True),
        ("(name = y) AND (zone = z)", False), ("name eq x.*", True), ("name ne x.*", False),
        ("name != y", True), ("labels.a-b:*", True), ("labels.none:*", False),
        ('(labels.a-b = "1") (name = "x")', True), ("scheduling.preemptible = true", True),
    ],
)  # fmt: skip
def test_filters(text: str, passes: bool) -> None:
    """The part of Google's filter language that clients use."""
    item = {"name": "x", "labels": {"a-b": "1"}, "scheduling": {"preemptible": True}}
    assert filters.matches(text, item) is passes


def test_facts_of_a_launch_are_known_to_scenarios(project: Open) -> None:
    """A fault can be for one zone, type and market; others are let through."""
    more = 'match = { zone = "*-b", type = "n1-*+nvidia-tesla-t4x1", market = "spot" }'
    account = project(fault("quotaExceeded", times=-1) + more)
    wanted = offer("n1-standard-4+nvidia-tesla-t4x1", "spot", "us-central1-b")
    for one in (
        wanted._replace(zone=ZONE), wanted._replace(market="on-demand"),
        offer("e2-medium", "spot", "us-central1-b"),
    ):  # fmt: skip
        account.running(account.provider.launch(account.request(one)).id)
    with pytest.raises(Exception, match=r"quota|Quota"):
        account.provider.launch(account.request(wanted))
    (last,) = [call for call in account.world.log.calls("gcp", INSERT) if call.refused]
    assert last.facts["type"] == wanted.type and last.facts["market"] == "spot"


def test_faults_take_their_form_from_their_code() -> None:
    """Codes of operations fail later, reasons at once; words and status can be given."""
    words = refusals.Words("p", "t", zone="z-a", region="z")
    assert refusals.at_once("ZONE_RESOURCE_POOL_EXHAUSTED", "", 0, words) is None
    assert refusals.at_once("QUOTA_EXCEEDED:CPUS", "", 0, words) is None
    assert refusals.at_once("NEW_CODE", "", 0, words) is None
    new = refusals.at_once("newReason", "so it is", 418, words)
    assert new is not None and (new.status, new.code, str(new)) == (418, "newReason", "so it is")
    failed = refusals.later("QUOTA_EXCEEDED:GPUS_ALL_REGIONS", "", 0, words)
    assert "globally" in failed.message and failed.status == 403
    assert refusals.later("GPUS_ALL_REGIONS", "", 0, words) == failed


def test_the_schema_of_both_apis_is_there() -> None:
    """Compute Engine's and the Resource Manager's methods are told apart by their paths."""
    both = discovery.load()
    found = both.match("POST", "/v1/projects/p:testIamPermissions")
    assert found is not None and found[0].id == "cloudresourcemanager.projects.testIamPermissions"
    assert found[1] == {"resource": "p"}
    assert both.match("GET", "/compute/v1/projects/p/zones") is not None
    assert both.match("PUT", "/compute/v1/projects/p/zones") is None


# --- the metadata server ----------------------------------------------------------------------

TREE = {
    "instance": {
        "preempted": "FALSE",
        "machine-type": "m",
        "attributes": {"user-data": "#cloud-config", "enable-guest-attributes": "TRUE"},
        "guest-attributes": {},
        "network-interfaces": {"0": {"ip": "10.0.0.1"}},
    },
    "project": {"project-id": "p"},
}
GOOGLE = {"metadata-flavor": "Google"}
HEAD = "/computeMetadata/v1/"


@pytest.fixture
def server() -> metadata.MetadataServer:
    """A machine's metadata with an account."""
    tree = json.loads(json.dumps(TREE))
    return metadata.MetadataServer(tree, lambda: {"access_token": "t"})


def test_metadata_wants_its_header(server: metadata.MetadataServer) -> None:
    """A request that a web page could have caused is refused."""
    assert server.answer("GET", HEAD + "instance/preempted", {}, b"").status == 403
    assert server.answer("GET", HEAD + "instance/preempted", GOOGLE, b"").body == b"FALSE"
    assert server.answer("GET", HEAD + "instance/none", GOOGLE, b"").status == 404
    assert server.answer("GET", "/latest/meta-data", GOOGLE, b"").status == 404


def test_metadata_lists_folders_and_gives_trees(server: metadata.MetadataServer) -> None:
    """A folder is a list of names, or JSON with Google's spelling of them."""
    listed = server.answer("GET", HEAD + "instance/", GOOGLE, b"").body.decode().split()
    assert "attributes/" in listed and "preempted" in listed
    whole = json.loads(server.answer("GET", HEAD + "?recursive=true", GOOGLE, b"").body)
    assert whole["instance"]["machineType"] == "m" and whole["project"]["projectId"] == "p"
    assert whole["instance"]["attributes"]["user-data"] == "#cloud-config"
    assert whole["instance"]["networkInterfaces"] == [{"ip": "10.0.0.1"}]
    own = server.answer("GET", HEAD + "instance/attributes/?recursive=true", GOOGLE, b"")
    assert json.loads(own.body)["user-data"] == "#cloud-config"


def test_metadata_waits_for_a_change(server: metadata.MetadataServer) -> None:
    """A long poll returns when the flag turns, or when its time is up."""
    path = HEAD + "instance/preempted?wait_for_change=true"
    got: list[bytes] = []

    def wait() -> None:
        got.append(server.answer("GET", path, GOOGLE, b"").body)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: bool(server._changed._waiters))
    server.set("instance/preempted", "TRUE")
    waiting.join(10)
    assert got == [b"TRUE"]
    assert server.answer("GET", path + "&timeout_sec=0", GOOGLE, b"").body == b"TRUE"


def test_a_change_between_two_questions_is_told_at_once(server: metadata.MetadataServer) -> None:
    """Who waits says what was read last; what has changed since then is not waited for."""
    path = HEAD + "instance/preempted"
    seen = server.answer("GET", path, GOOGLE, b"")
    server.set("instance/preempted", "TRUE")
    waiting = f"{path}?wait_for_change=true&last_etag={seen.etag}"
    told = server.answer("GET", waiting, GOOGLE, b"")
    assert told.body == b"TRUE" and told.etag != seen.etag
    again = f"{path}?wait_for_change=true&timeout_sec=0&last_etag={told.etag}"
    assert server.answer("GET", again, GOOGLE, b"").etag == told.etag


def test_a_guest_tells_by_its_attributes(server: metadata.MetadataServer) -> None:
    """What a machine writes below guest-attributes can be read; elsewhere it cannot write."""
    key = HEAD + "instance/guest-attributes/hostkeys/ssh-ed25519"
    assert server.answer("PUT", key, GOOGLE, b"AAAA").status == 200
    assert server.answer("GET", key, GOOGLE, b"").body == b"AAAA"
    assert server.answer("PUT", HEAD + "instance/preempted", GOOGLE, b"TRUE").status == 405


def test_a_token_is_given_to_machines_with_an_account(server: metadata.MetadataServer) -> None:
    """Without an account there is none."""
    path = HEAD + "instance/service-accounts/default/token"
    assert json.loads(server.answer("GET", path, GOOGLE, b"").body) == {"access_token": "t"}
    bare = metadata.MetadataServer({"instance": {}}, None)
    assert bare.answer("GET", path, GOOGLE, b"").status == 404
