"""`byoc audit` and `byoc reap` in emulated accounts: what is ended, and what is never touched.

Machines only greet here; clients are made of the parts that a fleet leaves on disk and in a cloud:
intent, row, lock and tags. Time goes on by a clock that is ahead.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.fleet import reap as judging
from byoc.fleet.audit import Audit, Auditor, Item
from byoc.fleet.leases import granted
from byoc.fleet.ledger import row_of
from byoc.fleet.locks import UseLock
from byoc.fleet.policy import MAX_ENDS
from byoc.fleet.reaper import ENDED, LEFT, WOULD, Reaped, Reaper
from byoc.limits import TAG_LEASE
from byoc.providers.base import (
    EXPIRES_TAG,
    OWNER_TAG,
    PRICE_TAG,
    RUN_TAG,
    TOKEN_TAG,
    UNTIL_TAG,
    Instance,
    LaunchRequest,
    Provider,
)
from byoc.settings import Settings
from byoc.state import Intent, Journal
from byoc.state.journal import FILE, FOLDER
from tests.clouds.accounts import BOOT_LEASE, CLOUDS, Account, opened
from tests.clouds.rehearsal import real_machines, rehearse
from tests.conftest import new_home
from tests.helpers import until
from tests.providers.world import new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ANYBODY = "[policy]\nenforced = false\n"
"""In these accounts others do what byoc's own policy does not allow."""
LIFETIME = 86400.0
ALIKE = (
    "test_a_renewed_lease_is_seen_before_the_end",
    "test_mine_leaves_others_alone",
    "test_a_dry_run_changes_nothing",
    "test_very_many_at_once_are_refused",
    "test_an_audit_tells_price_age_and_owner",
)
"""Tests of what no cloud can make a difference to."""
GREETS = 0.5
"""Seconds in which a machine on this computer has greeted."""


class Ahead:
    """The computer's clock, some seconds ahead."""

    def __init__(self) -> None:
        self.by = 0.0

    def wall(self) -> float:
        return SYSTEM.wall() + self.by

    def mono(self) -> float:
        return SYSTEM.mono()

    def sleep(self, seconds: float) -> None:
        SYSTEM.sleep(seconds)


class Client:
    """One data folder in an account. ``clock``: of its own."""

    def __init__(self, account: Account, *, everywhere: bool = False) -> None:
        self.account = account
        self.home = new_home()
        self.clock = Ahead()
        self.provider = account.another().provider
        if not everywhere:
            _keep_near(self.provider, account.region)
        self._open()
        self._locks: dict[str, UseLock] = {}

    def _open(self) -> None:
        self.journal = Journal.open(self.home, self.clock)

    def rents(self, run: str = "run-a", **tags: str) -> Instance:
        """An instance as a fleet rents it, in use."""
        offer, token, now = self.account.placed(), secrets.token_hex(16), SYSTEM.wall()
        lock = UseLock.take(self.home, token)
        assert lock is not None
        self._locks[token] = lock
        told = {
            OWNER_TAG: self.journal.owner,
            RUN_TAG: run,
            TOKEN_TAG: token,
            PRICE_TAG: "0.5",
            **granted(now, LIFETIME),
            **tags,
        }
        key = new_key()
        request = LaunchRequest(token, offer, told, key, key.public, BOOT_LEASE)
        self.journal.open_intent(
            Intent(token, offer.cloud, offer, told, key.public, run, now, now + 60.0)
        )
        made = self.account.running(self.provider.launch(request).id)
        self.journal.put_instance(row_of(made)._replace(state="running", run=run, reached=now))
        self.journal.update_intent(token, "closed", instance_id=made.id, detail="reached")
        return made

    def gives_back(self, instance: Instance, idle: float) -> None:
        """It stays warm."""
        until_when = self.clock.wall() + idle
        self.journal.update_instance(
            instance.provider, instance.id, state="idle", idle_until=until_when
        )
        self._locks.pop(instance.tags[TOKEN_TAG]).release()

    def dies(self) -> None:
        """Its process is killed: the kernel lets go of its locks."""
        while self._locks:
            self._locks.popitem()[1].release()

    def loses_journal(self, by: Callable[[Path], object]) -> None:
        """Something happens to the journal's file."""
        self.journal.close()
        for path in (self.home / FOLDER).glob(f"{FILE}-*"):
            path.unlink()
        by(self.home / FOLDER / FILE)
        self._open()

    @property
    def auditor(self) -> Auditor:
        providers = {self.account.name: self.provider}
        return Auditor(Settings(self.home), self.journal, providers, {}, self.clock, GREETS)

    def audit(self) -> Audit:
        """What ``byoc audit`` sees."""
        return self.auditor.look([self.account.name])

    def reap(self, **options: Any) -> Reaped:
        """What ``byoc reap`` does."""
        return Reaper(self.auditor).reap([self.account.name], **options)

    def verdict(self, thing: Instance) -> str:
        """The verdict on one instance."""
        (item,) = [item for item in self.audit().items if item.thing.id == thing.id]
        return item.verdict.word

    def close(self) -> None:
        """Forget it, and end what is its own."""
        self.dies()
        mine = {OWNER_TAG: self.journal.owner}
        here = [self.account.region]
        for one in self.provider.list(mine, here):
            self.provider.terminate(one.id)
        until(lambda: not self.provider.list(mine, here), 20)
        for one in self.provider.list(mine, here, everything=True):
            if one.kind != "network":
                self.provider.terminate(one.id)
        self.journal.close()
        shutil.rmtree(self.home)


def _keep_near(provider: Provider, region: str) -> None:
    """Where no region is named, have it ask this one: seventeen take a second."""
    asked = provider.list

    def near(
        tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> list[Instance]:
        return asked(tags, regions or [region], everything)

    provider.list = near  # type: ignore[method-assign]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of an account runs on each emulated cloud, or where none differs on one."""
    if "account" in metafunc.fixturenames:
        alike = metafunc.function.__name__ in ALIKE
        targets = [f"emulated-{cloud}" for cloud in (("gcp",) if alike else CLOUDS)]
        metafunc.parametrize("account", targets, indirect=True, scope="module")


@pytest.fixture(scope="module")
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    """An emulated account, shared by the tests of this module."""
    with opened(request.param, ANYBODY) as account:
        yield account


@pytest.fixture
def join(account: Account) -> Iterator[Callable[[], Client]]:
    """Makes clients of the account; what they rented ends with the test."""
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(account))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def ended(reaped: Reaped, kind: str = "instance") -> dict[str, str]:
    """By id, the verdict on which each thing of a kind was ended."""
    return {
        one.item.thing.id: one.item.verdict.word
        for one in reaped.done
        if one.outcome == ENDED and one.item.thing.kind == kind
    }


def silence(account: Account, *things: Instance) -> None:
    """Nothing answers there any more, and the cloud does not know."""
    assert account.world is not None
    for entry in account.world.ledger.alive():
        if any(thing.id.endswith(entry.id) for thing in things):
            account.world.keeper.cut((account.name, entry.id), True)


def state(client: Client, thing: Instance) -> str:
    """Its state in the cloud."""
    return client.provider.get(thing.id).state


# --- one's own ----------------------------------------------------------------------------------


def test_a_dead_clients_instance_is_ended_and_others_are_not(join: Callable[[], Client]) -> None:
    """Reaping ends what a dead client of the same folder left, at once; what is held, what is warm
    and all of another folder's is as before, whoever reaps."""
    mine, other = join(), join()
    held, warm, theirs, their_warm = mine.rents(), mine.rents(), other.rents(), other.rents()
    mine.gives_back(warm, 300.0)
    other.gives_back(their_warm, 300.0)
    orphan = mine.rents("run-b")
    mine._locks.pop(orphan.tags[TOKEN_TAG]).release()
    done = mine.reap()
    assert ended(done) == {orphan.id: judging.ORPHAN} and state(mine, orphan) == "gone"
    row = mine.journal.instance(orphan.provider, orphan.id)
    assert row is not None and row.state == "gone" and row.ended > 0
    assert mine.verdict(warm) == judging.WARM and mine.verdict(held) == judging.LIVE
    assert mine.verdict(theirs) == mine.verdict(their_warm) == judging.LIVE
    assert ended(other.reap()) == ended(mine.reap()) == {}
    for one in (held, warm, theirs, their_warm):
        assert state(mine, one) == "running"


@pytest.mark.parametrize(
    "by",
    [Path.unlink, lambda path: path.write_bytes(secrets.token_bytes(20_000))],
    ids=["deleted", "torn"],
)
def test_without_its_journal_a_folder_still_knows_its_own(
    join: Callable[[], Client], by: Callable[[Path], object]
) -> None:
    """After its journal was lost or torn, a folder's reaping ends what its dead clients left and
    leaves alone what a live one holds, and all of others."""
    mine, other = join(), join()
    orphan, held, theirs = mine.rents(), mine.rents(), other.rents()
    mine._locks.pop(orphan.tags[TOKEN_TAG]).release()
    mine.loses_journal(by)
    assert mine.journal.recovered
    assert ended(mine.reap()) == {orphan.id: judging.ORPHAN}
    assert state(mine, held) == state(mine, theirs) == "running"


def test_an_interrupted_launch_is_found_by_its_tag(join: Callable[[], Client]) -> None:
    """A client that was killed between the cloud's answer and its own note leaves nothing."""
    mine = join()
    made = mine.rents()
    mine.journal.update_intent(made.tags[TOKEN_TAG], "open", instance_id="")
    assert mine.journal.update_instance(made.provider, made.id, token="", state="gone")
    mine.dies()
    assert ended(mine.reap()) == {made.id: judging.ORPHAN}


# --- anybody's ----------------------------------------------------------------------------------


def test_another_installations_lease_decides(join: Callable[[], Client]) -> None:
    """From an empty folder: a running lease is respected; one that is over is not enough while the
    machine answers, or may; then it is ended. A lifetime that is over is enough."""
    theirs, nobody = join(), join()
    silent, answers = theirs.rents(), theirs.rents()
    theirs.dies()
    silence(theirs.account, silent)
    assert ended(nobody.reap()) == {}
    nobody.clock.by = TAG_LEASE + judging.SKEW + 60.0
    assert nobody.verdict(answers) == judging.ANSWERS
    assert nobody.verdict(silent) == judging.SILENT
    assert ended(nobody.reap()) == {}
    nobody.clock.by = TAG_LEASE + judging.SILENCE + 60.0
    assert ended(nobody.reap()) == {silent.id: judging.EXPIRED}
    assert state(nobody, answers) == "running"
    nobody.clock.by = LIFETIME + judging.SKEW + 60.0
    assert ended(nobody.reap()) == {answers.id: judging.EXPIRED}


def test_a_renewed_lease_is_seen_before_the_end(join: Callable[[], Client]) -> None:
    """Between the list and the end everything is looked at again: a client that has renewed its
    lease by then keeps its instance."""
    theirs, nobody = join(), join()
    thing = theirs.rents()
    silence(theirs.account, thing)
    nobody.clock.by = TAG_LEASE + judging.SILENCE + 60.0
    asked = nobody.provider.get

    def renewed(instance_id: str) -> Instance:
        until_when = str(int(nobody.clock.wall() + TAG_LEASE))
        theirs.provider.mark(instance_id, {EXPIRES_TAG: until_when})
        return asked(instance_id)

    nobody.provider.get = renewed  # type: ignore[method-assign]
    (one,) = [one for one in nobody.reap().done if one.item.thing.kind == "instance"]
    assert (one.outcome, one.item.verdict.word) == (LEFT, judging.LIVE)
    assert state(theirs, thing) == "running"


def test_mine_leaves_others_alone(join: Callable[[], Client]) -> None:
    """With ``--mine`` not even an expired instance of another installation is looked at."""
    theirs, mine = join(), join()
    thing, own = theirs.rents(), mine.rents()
    silence(theirs.account, thing)
    theirs.dies()
    mine.dies()
    mine.clock.by = TAG_LEASE + judging.SILENCE + 60.0
    assert ended(mine.reap(mine=True)) == {own.id: judging.ORPHAN}
    assert state(theirs, thing) == "running"


def test_a_named_run_is_ended_at_once(join: Callable[[], Client]) -> None:
    """By the name of a run, or its beginning, everything of it is ended from anywhere, whatever its
    lease; a run with a longer number is another one."""
    theirs, nobody = join(), join()
    first, second = theirs.rents("gh-77-1-aaaa"), theirs.rents("gh-77-2-bbbb")
    longer = theirs.rents("gh-778-1-cccc")
    assert ended(nobody.reap(named="gh-77-1-aaaa")) == {first.id: judging.NAMED}
    assert ended(nobody.reap(named="gh-77")) == {second.id: judging.NAMED}
    assert nobody.reap(named="gh-77").done == ()
    assert state(theirs, longer) == "running"


def test_a_dry_run_changes_nothing(join: Callable[[], Client]) -> None:
    """It says what would be ended, and every tag and every instance is as before."""
    mine = join()
    orphan = mine.rents()
    mine.dies()
    before = mine.provider.get(orphan.id)
    done = mine.reap(dry=True, mine=True)
    assert [(one.item.thing.id, one.outcome) for one in done.done] == [(orphan.id, WOULD)]
    assert mine.provider.get(orphan.id) == before


def test_very_many_at_once_are_refused(join: Callable[[], Client]) -> None:
    """More dead clients' instances than a mistake should cost are left until somebody says so."""
    mine = join()
    things = [mine.rents() for _ in range(MAX_ENDS + 1)]
    mine.dies()
    done = mine.reap(mine=True)
    assert done.refused == {mine.account.name: len(things)} and ended(done) == {}
    assert {one.outcome for one in done.done} == {LEFT}
    assert len(ended(mine.reap(mine=True, however_many=True))) == len(things)


# --- what byoc did not launch -------------------------------------------------------------------


def by_hand(account: Account, number: int) -> list[str]:
    """Instances that somebody launches with the vendor's own client; their ids as byoc has them."""
    offer, provider = account.placed(), account.administrator().provider
    return list(_VENDORS[account.name](provider, offer, number))


def _aws(provider: Any, offer: Any, number: int) -> Iterator[str]:
    client = provider._clients.client("ec2", offer.region)
    image = provider._images.find(offer)[0].id
    for _ in range(number):
        made = client.run_instances(ImageId=image, InstanceType=offer.type, MinCount=1, MaxCount=1)[
            "Instances"
        ][0]
        yield f"{offer.region}/{made['InstanceId']}"


def _gcp(provider: Any, offer: Any, number: int) -> Iterator[str]:
    from google.cloud import compute_v1

    image = "projects/debian-cloud/global/images/family/debian-12"
    google = provider._google
    place = provider._place(LaunchRequest("0" * 32, offer, {}, new_key(), "", 60.0))
    image = place.image
    for at in range(number):
        name = f"theirs-{secrets.token_hex(4)}-{at}"
        body = {
            "name": name,
            "machineType": f"zones/{offer.zone}/machineTypes/{offer.type}",
            "disks": [{"boot": True, "autoDelete": True,
                       "initializeParams": {"sourceImage": image, "diskSizeGb": "30"}}],
            "networkInterfaces": [{"network": "global/networks/default"}],
        }  # fmt: skip
        resource = compute_v1.Instance.from_json(json.dumps(body))
        google.once(
            "instances", "insert_unary", project=google.project, zone=offer.zone,
            instance_resource=resource,
        )  # fmt: skip
        yield f"{offer.zone}/{name}"


def _oci(provider: Any, offer: Any, number: int) -> Iterator[str]:
    from byoc.providers.oci.launch import details

    tags = {OWNER_TAG: "somebody"}
    request = LaunchRequest(secrets.token_hex(16), offer, tags, new_key(), "", 60.0)
    image = provider._images.find(offer)
    place = provider._place(offer.region, "somebody", True)
    body = details(request, provider._account.compartment, image, place, "#cloud-config\n")
    client = provider._account.client("compute", offer.region)
    for at in range(number):
        own = {**body, "displayName": f"theirs-{at}", "freeformTags": {"team": "theirs"}}
        own["metadata"] = {"user_data": body["metadata"]["user_data"]}
        yield client.launch_instance(own).data.id


_VENDORS: dict[str, Callable[[Any, Any, int], Iterator[str]]] = {
    "aws": _aws,
    "gcp": _gcp,
    "oci": _oci,
}


def test_foreign_instances_and_forged_tags_are_never_touched(
    account: Account, join: Callable[[], Client]
) -> None:
    """Fifty instances of somebody else's, five of them with byoc's tags put on by hand (a live
    token, a dead one, an expired lease, the name of a run): all run on, whatever is asked."""
    mine, owner = join(), account.administrator().provider
    live, orphan = mine.rents("run-x"), mine.rents("run-x")
    mine._locks.pop(orphan.tags[TOKEN_TAG]).release()
    theirs = by_hand(account, 50)
    try:
        for thing in theirs:
            until(lambda thing=thing: owner.get(thing).state == "running", 20)  # type: ignore[misc]
        now = int(SYSTEM.wall())
        for thing, token in zip(
            theirs,
            (live.tags[TOKEN_TAG], orphan.tags[TOKEN_TAG], secrets.token_hex(16), "", "../../x"),
            strict=False,
        ):
            forged = {
                "byoc-managed": "1", OWNER_TAG: mine.journal.owner, RUN_TAG: "run-x",
                TOKEN_TAG: token, EXPIRES_TAG: str(now - 9000), UNTIL_TAG: str(now - 8000),
            }  # fmt: skip
            owner.mark(thing, {key: value for key, value in forged.items() if value})
        seen = {item.thing.id: item.verdict.word for item in mine.audit().items}
        assert [seen.get(thing) for thing in theirs[:5]] == [judging.FOREIGN] * 5
        assert not set(theirs[5:]) & set(seen)
        assert ended(mine.reap()) == {orphan.id: judging.ORPHAN}
        assert ended(mine.reap(named="run-x")) == {live.id: judging.NAMED}
        assert {account.provider.get(thing).state for thing in theirs} == {"running"}
    finally:
        for thing in theirs:
            owner.terminate(thing)


# --- what instances leave behind ----------------------------------------------------------------


def leave_disk(client: Client, token: str) -> None:
    """A disk of an instance that is no more, as each cloud shows it."""
    account, offer = client.account, client.account.placed()
    provider: Any = client.provider
    tags = {OWNER_TAG: client.journal.owner, TOKEN_TAG: token, "byoc-managed": "1"}
    if account.name == "aws":
        told = [{"Key": key, "Value": value} for key, value in tags.items()]
        owner: Any = account.administrator().provider  # byoc itself may make no loose disk
        made = owner._clients.client("ec2", offer.region).create_volume(
            AvailabilityZone=offer.zone, Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": told}],
        )  # fmt: skip
        assert made["VolumeId"]
        return
    made = client.rents()
    assert account.world is not None
    facade: Any = next(one for one in account.world.facades() if one.cloud == account.name)
    if account.name == "gcp":
        zone, _, name = made.id.partition("/")
        facade._instances._boxes[zone, name].body["disks"][0]["autoDelete"] = False
        provider.terminate(made.id)
    else:
        client_ = provider._account.client("compute", offer.region)
        client_.terminate_instance(made.id, preserve_boot_volume=True)
    account.ended(made.id)


def test_what_is_left_behind_is_found_and_removed(join: Callable[[], Client]) -> None:
    """A disk without an instance, and the firewall of an owner who has none any more: shown by
    audit, removed by reap, of another installation as soon as they cannot be of a launch."""
    theirs, nobody = join(), join()
    leave_disk(theirs, secrets.token_hex(16))
    theirs.provider.terminate(theirs.rents().id)
    theirs.dies()
    account, mine = theirs.account, {OWNER_TAG: theirs.journal.owner}
    until(lambda: not theirs.provider.list(mine, [account.region]), 20)
    nobody.clock.by = judging.LEFT_GRACE + 60.0
    words = {item.thing.kind: item.verdict.word for item in _of(nobody.audit(), theirs)}
    assert words["disk"] == words["firewall"] == judging.LEFTOVER
    done = nobody.reap()
    assert ended(done, "disk") and ended(done, "firewall")
    left = {item.thing.kind for item in _of(nobody.audit(), theirs)}
    assert not left & {"disk", "firewall", "address", "instance"}


def test_a_firewall_in_use_stays(join: Callable[[], Client]) -> None:
    """While its owner has an instance in the region, or is launching one, its firewall is left."""
    theirs, nobody = join(), join()
    thing = theirs.rents()
    nobody.clock.by = judging.LEFT_GRACE + 60.0
    words = {item.thing.kind: item.verdict.word for item in _of(nobody.audit(), theirs)}
    assert words["firewall"] == judging.USED
    theirs.provider.terminate(thing.id)
    theirs.account.ended(thing.id)
    theirs.journal.update_intent(thing.tags[TOKEN_TAG], "launched")
    words = {item.thing.kind: item.verdict.word for item in _of(theirs.audit(), theirs)}
    assert words["firewall"] == judging.USED


def test_a_dead_clients_firewall_goes_with_its_last_instance(join: Callable[[], Client]) -> None:
    """One reaping ends the instance, waits, and closes the door behind it."""
    mine = join()
    orphan = mine.rents()
    mine.dies()
    done = mine.reap()
    assert ended(done) == {orphan.id: judging.ORPHAN} and ended(done, "firewall")
    assert all(not item.found for item in _of(mine.audit(), mine))


def _of(audit: Audit, client: Client) -> Sequence[Item]:
    return [item for item in audit.items if item.owner == client.journal.owner]


# --- what is told -------------------------------------------------------------------------------


def test_an_audit_tells_price_age_and_owner(join: Callable[[], Client]) -> None:
    """Each instance with its price at launch, its age, owner and run; a sum for the day."""
    mine, other = join(), join()
    own, theirs = mine.rents("run-p"), other.rents("run-q")
    items = {item.thing.id: item for item in mine.audit().items}
    assert (items[own.id].mine, items[own.id].run, items[own.id].price) == (True, "run-p", 0.5)
    assert items[theirs.id].owner == other.journal.owner and not items[theirs.id].mine
    assert 0.0 < items[own.id].age < 120.0
    total = sum(item.price or 0.0 for item in items.values()) * 24.0
    assert mine.audit().per_day == pytest.approx(total) and total >= 24.0


def test_a_region_that_cannot_be_asked_is_told() -> None:
    """One region that refuses hides no other: what is elsewhere is found, and the region named."""
    refuses = (
        "[[fault]]\ncloud = 'aws'\nop = 'DescribeInstances'\nerror = 'UnauthorizedOperation'\n"
        "message = 'with an explicit deny in a service control policy'\ntimes = -1\n"
        "[fault.match]\nregion = 'eu-west-1'\n"
    )
    with opened("emulated-aws", refuses) as account:
        client = Client(account, everywhere=True)
        try:
            made = client.rents()
            seen = client.audit()
            assert made.id in {item.thing.id for item in seen.items}
            assert [(one.cloud, one.region) for one in seen.unasked] == [("aws", "eu-west-1")]
        finally:
            client.close()


CLI = """
set -u
byoc run "$HELLO" >&2 || exit 90
byoc audit --json > audit-1; echo "audit $?"
byoc ps --json > ps-1
byoc reap --json > reap-1; echo "reap $?"
BYOC_HOME="$BYOC_HOME-other" byoc audit --json > audit-2; echo "elsewhere $?"
BYOC_HOME="$BYOC_HOME-other" byoc ps --everywhere --json > ps-2
BYOC_HOME="$BYOC_HOME-other" byoc reap --run gh-4711 --dry-run --json > reap-2; echo "dry $?"
BYOC_HOME="$BYOC_HOME-other" byoc reap --run gh-4711 >&2; echo "named $?"
BYOC_HOME="$BYOC_HOME-other" byoc reap --run gh-4711 >&2; echo "again $?"
"""


@real_machines
def test_a_ci_jobs_next_step_reaps_by_its_number(byoc_home: Path, tmp_path: Path) -> None:
    """With the real command: a run in a CI job leaves a warm instance; audit tells of it and exits
    with 1, reap leaves it and exits with 0; from an empty folder ``--run`` of the job's number ends
    it, and then nothing is left of it."""
    script = tmp_path / "steps.sh"
    script.write_text(f"cd {tmp_path}\n{CLI}")
    variables = {
        "GITHUB_RUN_ID": "4711", "GITHUB_RUN_ATTEMPT": "2", "BYOC_IDLE": "300",
        "HELLO": str(Path(__file__).parents[2] / "examples" / "hello.py"),
    }  # fmt: skip
    done = rehearse(byoc_home, "sh", str(script), options=("--cloud", "gcp"), environ=variables)
    try:
        assert done.out.split("\n")[:6] == [
            "audit 1", "reap 0", "elsewhere 1", "dry 1", "named 1", "again 0"
        ], done.err  # fmt: skip
        told = {name: json.loads((tmp_path / name).read_text()) for name in (
            "audit-1", "audit-2", "reap-1", "reap-2", "ps-1", "ps-2",
        )}  # fmt: skip
        (mine,) = [one for one in told["audit-1"]["things"] if one["kind"] == "instance"]
        assert mine["verdict"] == "warm" and mine["mine"] and mine["run"].startswith("gh-4711-2-")
        assert mine["per_day"] > 0 and mine["age"] > 0 and mine["expires"] > mine["started"]
        assert told["reap-1"]["reaped"] == [] and told["reap-1"]["clouds"] == ["local", "gcp"]
        (theirs,) = [one for one in told["audit-2"]["things"] if one["kind"] == "instance"]
        assert theirs["id"] == mine["id"] and theirs["verdict"] == "live" and not theirs["mine"]
        assert [one["outcome"] for one in told["reap-2"]["reaped"]] == ["would end"]
        assert [one["id"] for one in told["ps-1"]["instances"]] == [mine["id"]]
        assert mine["id"] in [one["id"] for one in told["ps-2"]["things"]]
    finally:
        shutil.rmtree(f"{byoc_home}-other", ignore_errors=True)
