"""The provider contract, sentence by sentence, for every provider there is.

    pytest tests/clouds/test_conformance.py --cloud=local|emulated|aws|gcp|oci

Each test speaks to a provider through ``providers/base.py`` alone. With a real account it rents the
cheapest instances with a CPU in one region, one at a time for most tests, and ends all of them;
``BYOC_TEST_REGION`` chooses the region. Tests that need something to fail run against emulated
accounts only.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from byoc import providers
from byoc.errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TransientError,
)
from byoc.providers.base import (
    ANY,
    EXPIRES_TAG,
    OWNER_TAG,
    RUN_TAG,
    TOKEN_TAG,
    UNTIL_TAG,
    Instance,
)
from byoc.providers.gcp.network import SHUT
from byoc.resources import MARKETS
from tests.clouds.accounts import CLOUDS, LAUNCH, NETWORK, REAL_PATIENCE, Account, opened
from tests.clouds.conftest import chosen
from tests.helpers import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STATES = ("pending", "running", "ending", "gone")
KINDS = ("instance", "disk", "address", "firewall", "network", "key", "image")
NOWHERE = {
    "local": ("local-0000000000000000", "nonsense", ""),
    "aws": ("us-east-1/i-0123456789abcdef0", "i-0123456789abcdef0", "nonsense", ""),
    "gcp": ("us-central1-a/byoc-00000000000000000000", "nonsense", ""),
    "oci": ("ocid1.instance.oc1.iad.none", "nonsense", ""),
}
"""Ids that no instance has: first one as the provider writes them, then texts that are none."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs for each target of ``--cloud``; some for the emulated ones of them only."""
    names = set(metafunc.fixturenames)
    targets = chosen(metafunc.config)
    if names & {"emulated", "rehearsed"}:
        targets = [target for target in targets if target.startswith("emulated-")]
    real = pytest.mark.timeout(3 * REAL_PATIENCE)
    params = [pytest.param(t, marks=[real] if t in CLOUDS else []) for t in targets]
    if "account" in names:
        metafunc.parametrize("account", params, indirect=True, scope="module")
    if "rehearsed" in names:
        metafunc.parametrize("rehearsed", params, indirect=True)


@pytest.fixture(scope="module")
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    """The account, open for all tests that share it; at the end nothing may be left in it."""
    with opened(request.param) as account:
        yield account


@pytest.fixture
def emulated(account: Account) -> Account:
    """The same account, which is an emulated one."""
    assert account.world is not None
    return account


@pytest.fixture
def rehearsed(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Account]]:
    """Makes an emulated account of the test's own with a scenario, in which ``{cloud}`` and
    ``{launch}`` stand for the cloud and for its call that makes an instance."""
    with ExitStack() as stack:

        def make(text: str) -> Account:
            name = request.param.rpartition("-")[2]
            told = text.replace("{cloud}", name).replace("{launch}", LAUNCH[name])
            return stack.enter_context(opened(request.param, told))

        yield make


@pytest.fixture(scope="module")
def one(account: Account) -> Iterator[Instance]:
    """One instance that runs, for tests that only look."""
    request = account.request(account.placed())
    launched = account.provider.launch(request)
    yield account.running(launched.id)
    account.provider.terminate(launched.id)


def test_the_name_is_the_tables(account: Account) -> None:
    """A provider's name is the one by which it is made."""
    assert account.provider.name == account.name in providers.names()


def test_traits_are_possible(account: Account) -> None:
    """The record of differences holds only values that the rest of byoc knows."""
    traits = account.provider.traits
    assert traits.end_command and traits.end_command[0] == traits.end_command[0].strip() != ""
    assert traits.python and traits.self_end in ("gone", "stopped", "billed")
    assert traits.notice >= 0 and traits.notice_source in ("", "aws", "gcp", "oci")
    assert not traits.notice_source or traits.notice > 0
    assert traits.regional is all(not offer.zone for offer in account.provider.offers())
    assert account.provider.traits == traits


def test_offers_can_be_told_apart(account: Account) -> None:
    """Each offer is of this provider, has a key of its own and hardware that can be."""
    offers = account.provider.offers()
    assert offers and len({offer.key() for offer in offers}) == len(offers)
    for offer in offers:
        assert offer.cloud == account.name and offer.region and offer.type
        assert offer.market in MARKETS and (offer.price is None or offer.price >= 0)
        assert offer.cpus > 0 and offer.memory > 0 and offer.minimum >= 0
        assert bool(offer.gpu) is bool(offer.gpu_count)
    assert [offer.key() for offer in account.provider.offers()] == [o.key() for o in offers]


def test_check_finds_an_account_that_works(account: Account) -> None:
    """Every finding has a level, a subject and a message, and a remedy unless it is fine; none of a
    good account fails."""
    findings = account.provider.check()
    assert findings
    for finding in findings:
        assert finding.level in ("ok", "warn", "fail") and finding.subject and finding.message
        assert finding.level == "ok" or finding.remedy, finding
    assert [finding for finding in findings if finding.level == "fail"] == []


def test_a_survey_tells_of_what_was_asked(account: Account) -> None:
    """Zones, quotas and draws concern the region and the offers asked about; asking is free."""
    before = {instance.id for instance in account.own(everything=True)}
    asked = account.offers()[:3]
    survey = account.provider.survey(account.region, asked)
    types = {offer.type for offer in asked}
    assert survey.region == account.region and not survey.failed, survey.failed
    assert set(survey.zones) <= types and {key[0] for key in survey.draws} <= types
    assert {key[0] for key in (*survey.capacity, *survey.prices)} <= types
    for quota in survey.quotas:
        assert quota.bucket and quota.limit >= 0 and (quota.used is None or quota.used >= 0)
        assert quota.region in ("", account.region)
    buckets = {quota.bucket for quota in survey.quotas}
    drawn = {draw.bucket for draws in survey.draws.values() for draw in draws}
    assert drawn <= buckets or not survey.quotas
    assert all(price > 0 for price in survey.prices.values())
    if account.provider.traits.regional:
        assert any(survey.zones.values())
    assert {instance.id for instance in account.own(everything=True)} == before


def test_an_unsold_type_has_no_zone(account: Account) -> None:
    """The survey of a type that does not exist names no zone that would sell it."""
    offer = account.offers()[0]._replace(type="z9.enormous", zone="")
    survey = account.provider.survey(account.region, [offer])
    assert not survey.zones.get("z9.enormous")


def test_a_launch_answers_with_the_instance(account: Account, one: Instance) -> None:
    """What runs has an id, an address that accepts SSH, the tags, and the offer it was made of."""
    assert one.provider == account.name and one.id and one.kind == "instance"
    assert one.address and 0 < one.port < 65536 and one.user
    assert one.failure is None and one.started > 0
    greeting = until(lambda: _greeting(one), account.patience, "the SSH server")
    assert greeting == b"SSH-"


def _greeting(instance: Instance) -> bytes:
    """The first bytes that the instance's port says; none while nothing listens there yet."""
    try:
        with socket.create_connection((instance.address, instance.port), timeout=5) as port:
            return port.recv(4)
    except OSError:
        return b""


def test_the_offer_comes_back_whole(account: Account, one: Instance) -> None:
    """Nothing of an offer is lost on the way through the cloud: whoever finds the instance knows
    its zone, its type, its market and its price."""
    listed = {instance.id: instance for instance in account.own()}[one.id]
    assert one.offer == listed.offer
    assert one.offer == account.placed()._replace(disk=one.offer.disk)


def test_the_tags_were_in_the_create_call(account: Account) -> None:
    """From the first moment that an instance can be seen its tags can be seen as well."""
    request = account.request(account.placed())
    launched = account.provider.launch(request)
    try:
        assert launched.state in ("pending", "running") and launched.id
        assert dict(request.tags).items() <= dict(launched.tags).items()
        now = account.provider.get(launched.id)
        assert dict(request.tags).items() <= dict(now.tags).items()
    finally:
        account.provider.terminate(launched.id)


def test_a_pending_instance_says_what_it_waits_for(account: Account) -> None:
    """Until an instance runs, its detail tells what is being waited for."""
    launched = account.provider.launch(account.request(account.placed()))
    try:
        now = account.provider.get(launched.id)
        assert now.state in STATES and (now.state != "pending" or now.detail)
    finally:
        account.provider.terminate(launched.id)


def test_the_same_token_is_the_same_instance(account: Account) -> None:
    """Asking twice with one token gives one instance, however the two requests meet."""
    request = account.request(account.placed())
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(_launch, account, request) for _ in range(2)]
        launched = {found.id for found in (one.result() for one in tries) if found is not None}
    again = account.provider.launch(request)
    try:
        assert launched == {again.id}
        found = until(
            lambda: account.provider.list({TOKEN_TAG: request.token}, [account.region]),
            account.patience,
            "the instance to be listed",
        )
        assert [instance.id for instance in found] == [again.id]
    finally:
        account.provider.terminate(again.id)


def _launch(account: Account, request: object) -> Instance | None:
    """A launch; None when another one with the same token was under way at that moment."""
    try:
        return account.provider.launch(request)  # type: ignore[arg-type]
    except TransientError:
        return None


def test_other_tokens_are_other_instances(account: Account) -> None:
    """A new token means a new instance, even for the same offer."""
    first = account.provider.launch(account.request(account.placed()))
    second = account.provider.launch(account.request(account.placed()))
    try:
        assert first.id != second.id
        until(
            lambda: {first.id, second.id} <= {instance.id for instance in account.own()},
            account.patience,
            "both instances to be listed",
        )
    finally:
        account.provider.terminate(first.id)
        account.provider.terminate(second.id)


def test_another_client_sees_the_same(account: Account, one: Instance) -> None:
    """A provider keeps no state: one that was just made knows all that the launching one knows."""
    other = account.another().provider
    assert other.get(one.id) == account.provider.get(one.id)
    assert [found.id for found in other.list({TOKEN_TAG: one.tags[TOKEN_TAG]})] == [one.id]


def test_list_finds_by_all_of_the_tags(account: Account, one: Instance) -> None:
    """An instance is listed when each tag that was asked for has that value, and only then."""
    tags = {OWNER_TAG: account.owner, TOKEN_TAG: one.tags[TOKEN_TAG]}
    assert [found.id for found in account.provider.list(tags, [account.region])] == [one.id]
    assert account.provider.list({**tags, OWNER_TAG: "somebody-else"}, [account.region]) == []
    assert account.provider.list({**tags, "byoc-no-such-tag": "1"}, [account.region]) == []
    assert one.id in {found.id for found in account.provider.list({}, [account.region])}


def test_list_without_regions_looks_everywhere(account: Account, one: Instance) -> None:
    """Without regions an instance is found wherever it is; in another region it is not."""
    tags = {TOKEN_TAG: one.tags[TOKEN_TAG]}
    assert [found.id for found in account.provider.list(tags)] == [one.id]
    others = sorted({offer.region for offer in account.provider.offers()} - {account.region})
    if account.provider.traits.regional and account.world is not None:
        assert account.provider.list(tags, others[:1]) == []


def test_list_shows_what_get_shows(account: Account, one: Instance) -> None:
    """Both ways of looking agree on address, tags, user, port and state."""
    listed = {found.id: found for found in account.own()}[one.id]
    now = account.provider.get(one.id)
    for name in ("provider", "state", "tags", "address", "port", "user", "host_key", "kind"):
        assert getattr(listed, name) == getattr(now, name), name


def test_everything_includes_the_instances(account: Account, one: Instance) -> None:
    """With ``everything`` the list has other kinds beside the instances, each of them known."""
    found = account.own(everything=True)
    assert one.id in {thing.id for thing in found}
    for thing in found:
        assert thing.kind in KINDS and thing.id and thing.provider == account.name
        assert thing.tags.get(OWNER_TAG) == account.owner
    assert {thing.kind for thing in account.own()} == {"instance"}


def test_the_console_is_text(account: Account, one: Instance) -> None:
    """What a machine printed is at most 64 KiB of text, empty where nothing is kept."""
    said = account.provider.console(one.id)
    assert isinstance(said, str) and len(said.encode()) <= 64 * 1024


@pytest.mark.parametrize("place", range(4))
def test_an_unknown_id_is_gone(account: Account, place: int) -> None:
    """An id that no instance has is gone, without a reason, and ending it succeeds; only what
    cannot be an id at all may be refused."""
    if place >= len(NOWHERE[account.name]):
        pytest.skip("this provider has fewer forms of ids")
    unknown = NOWHERE[account.name][place]
    now = account.provider.get(unknown)
    assert (now.state, now.detail, now.failure, now.id) == ("gone", "", None, unknown)
    try:
        account.provider.terminate(unknown)
    except BadRequestError:
        assert place > 0


def test_terminate_may_be_repeated(account: Account) -> None:
    """Ending an instance ends it, again and again without an error; a list has it no more."""
    launched = account.provider.launch(account.request(account.placed()))
    for _ in range(2):
        account.provider.terminate(launched.id)
    account.ended(launched.id)
    account.provider.terminate(launched.id)
    assert launched.id not in {instance.id for instance in account.own()}
    assert account.provider.get(launched.id).state == "gone"


def test_an_instance_can_be_ended_while_it_boots(account: Account) -> None:
    """Nobody has to wait for an instance before ending it, and it never comes back."""
    launched = account.provider.launch(account.request(account.placed()))
    account.provider.terminate(launched.id)
    assert account.provider.get(launched.id).state in ("ending", "gone")
    account.ended(launched.id)


def test_nothing_stays_that_costs(account: Account) -> None:
    """After an instance has ended no disk and no address of its is left."""
    request = account.request(account.placed())
    launched = account.provider.launch(request)
    account.running(launched.id)
    account.provider.terminate(launched.id)
    account.ended(launched.id)

    def left() -> list[Instance]:
        found = account.provider.list({TOKEN_TAG: request.token}, [account.region], True)
        return [thing for thing in found if thing.kind in ("instance", "disk", "address")]

    until(lambda: not left(), account.patience, "the disks and addresses to be gone")
    assert left() == []


def test_what_does_not_exist_cannot_be_launched(account: Account) -> None:
    """A type that is not sold is refused as such, and nothing is made."""
    offer = account.placed()._replace(type="z9.enormous")
    request = account.request(offer)
    with pytest.raises((BadRequestError, NotOfferedError)):
        _must_be_made(account, account.provider.launch(request))
    assert account.provider.list({TOKEN_TAG: request.token}, [account.region]) == []


def _must_be_made(account: Account, launched: Instance) -> None:
    """Raise why an instance that was accepted was not made after all."""

    def settled() -> Instance | None:
        now = account.provider.get(launched.id)
        return now if now.state in ("running", "gone") else None

    end = until(settled, account.patience, f"{launched.id} to run or fail")
    assert end is not None
    if end.failure is not None:
        raise end.failure


def test_a_region_can_be_left_to_choose_the_zone(account: Account) -> None:
    """Without a zone a launch lets the cloud choose one, or is refused before anything is made."""
    if not account.provider.traits.regional:
        pytest.skip("this provider sells one zone only")
    offer = account.placed()._replace(zone="")
    request = account.request(offer)
    try:
        launched = account.provider.launch(request)
    except BadRequestError:
        assert account.provider.list({TOKEN_TAG: request.token}, [account.region]) == []
    else:
        assert account.running(launched.id).offer.zone
        account.provider.terminate(launched.id)


# --- emulated accounts: what costs too much, or has to fail ----------------------------------


def test_cheap_answers_cost_no_request(emulated: Account) -> None:
    """Neither the traits nor the offers are asked from the cloud."""
    before = emulated.requests()
    assert emulated.provider.traits.regional and emulated.provider.offers()
    assert emulated.requests() == before


@pytest.mark.parametrize("market", MARKETS)
def test_gpus_are_rented_on_both_markets(emulated: Account, market: str) -> None:
    """An instance with a GPU comes back as the offer it was: GPU, number, market and price."""
    offer = emulated.placed(market, gpus=True)
    launched = emulated.provider.launch(emulated.request(offer))
    try:
        assert emulated.running(launched.id).offer == offer
    finally:
        emulated.provider.terminate(launched.id)


def test_a_larger_disk_is_had(emulated: Account) -> None:
    """A request for a disk is met, and its instance is like any other."""
    request = emulated.request(emulated.placed(), disk=200 * 1024)
    launched = emulated.provider.launch(request)
    try:
        assert emulated.running(launched.id).offer.type == request.offer.type
    finally:
        emulated.provider.terminate(launched.id)


def test_many_at_once_share_one_network(rehearsed: Callable[[str], Account]) -> None:
    """Several launches in a region that nobody has used yet prepare it once, and all succeed."""
    account = rehearsed("")
    requests = [account.request(account.placed()) for _ in range(6)]
    with ThreadPoolExecutor(len(requests)) as pool:
        launched = list(pool.map(account.provider.launch, requests))
    assert len({instance.id for instance in launched}) == len(requests)
    for instance in launched:
        account.running(instance.id)
    again = account.another()
    again.running(again.provider.launch(again.request(again.placed())).id)
    # Google needs one rule to let the client in and one to keep everybody else out
    assert account.requests(NETWORK[account.name]) == (2 if account.name == "gcp" else 1)


def test_a_lagging_read_is_no_end(rehearsed: Callable[[str], Account]) -> None:
    """An instance that the cloud does not show yet is pending, and can be ended all the same."""
    account = rehearsed("[list]\nlag = 1.0")
    launched = account.provider.launch(account.request(account.placed()))
    assert account.provider.get(launched.id).state == "pending"

    def accepted() -> bool:
        try:
            account.provider.terminate(launched.id)
        except TransientError:
            return False
        return account.provider.get(launched.id).state in ("ending", "gone")

    until(accepted, account.patience, "the end to be accepted")
    account.ended(launched.id)


REFUSALS = [
    ("capacity", ("InsufficientInstanceCapacity", "ZONE_RESOURCE_POOL_EXHAUSTED",
                  "OutOfHostCapacity"), CapacityError),
    ("quota", ("VcpuLimitExceeded", "QUOTA_EXCEEDED", "LimitExceeded"), QuotaError),
    ("throttle", ("RequestLimitExceeded", "rateLimitExceeded", "TooManyRequests"), ThrottleError),
    ("permission", ("UnauthorizedOperation", "forbidden", "NotAuthorizedOrNotFound"), AccessError),
    ("transient", ("InternalError", "backendError", "InternalError"), TransientError),
]  # fmt: skip
"""A name, the three clouds' own codes, and what they mean."""


@pytest.mark.parametrize(
    ("codes", "meaning"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_refused_launch_is_asked_once(
    rehearsed: Callable[[str], Account], codes: tuple[str, str, str], meaning: type[ProviderError]
) -> None:
    """A refusal has its class, the cloud's code and a request id; nothing asks a second time."""
    faults = (
        f"[[fault]]\ncloud = '{cloud}'\nop = '{LAUNCH[cloud]}'\nerror = '{code}'\ntimes = -1\n"
        for cloud, code in zip(CLOUDS, codes, strict=True)
    )
    account = rehearsed("".join(faults))
    request = account.request(account.placed())
    with pytest.raises(meaning) as caught:
        _must_be_made(account, account.provider.launch(request))
    assert account.launches() == 1
    refusal = caught.value
    assert isinstance(refusal, ProviderError) and refusal.provider == account.name
    assert refusal.vendor_code and refusal.request_id and str(refusal)
    assert account.provider.list({TOKEN_TAG: request.token}, [account.region]) == []


def test_an_unknown_refusal_does_not_look_like_our_mistake(
    rehearsed: Callable[[str], Account],
) -> None:
    """A code that nobody has met is some class that lets the next offer be tried."""
    account = rehearsed("[[fault]]\nop = '{launch}'\nerror = 'NeverHeardOfThis'\ntimes = -1")
    with pytest.raises(ProviderError) as caught:
        _must_be_made(account, account.provider.launch(account.request(account.placed())))
    assert not isinstance(caught.value, BadRequestError) and account.launches() == 1


def test_a_lost_answer_is_found_again(rehearsed: Callable[[str], Account]) -> None:
    """After an answer was lost, the token leads to the one instance that was made."""
    account = rehearsed("[[fault]]\nop = '{launch}'\nerror = 'lost-reply'")
    request = account.request(account.placed())
    with pytest.raises(TransientError):
        account.provider.launch(request)
    assert account.launches() == 1
    found = until(
        lambda: account.provider.list({TOKEN_TAG: request.token}, [account.region]),
        account.patience,
        "the instance whose answer was lost",
    )
    assert account.provider.launch(request).id == found[0].id
    assert len(account.own()) == 1


def test_an_account_out_of_capacity_says_so(rehearsed: Callable[[str], Account]) -> None:
    """When a zone has none of a type the launch is refused or the instance fails: CapacityError."""
    account = rehearsed("[[capacity]]\ncloud = '{cloud}'\ncount = 0")
    with pytest.raises(CapacityError) as caught:
        _must_be_made(account, account.provider.launch(account.request(account.placed())))
    assert caught.value.scope in ("offer", "type@zone", "zone") and caught.value.remember > 0


def test_a_slow_boot_is_pending_with_a_reason(rehearsed: Callable[[str], Account]) -> None:
    """While the cloud works on it an instance is pending, and its detail says on what."""
    account = rehearsed("[boot]\ndelay = 600")
    launched = account.provider.launch(account.request(account.placed()))
    now = account.provider.get(launched.id)
    assert now.state == "pending" and now.detail and not now.failure
    account.provider.terminate(launched.id)
    account.ended(launched.id)


def test_a_preempted_instance_is_gone_with_the_reason(
    rehearsed: Callable[[str], Account],
) -> None:
    """An instance that the cloud took back is gone, and says so."""
    account = rehearsed("")
    launched = account.provider.launch(account.request(account.placed("spot")))
    account.running(launched.id)
    assert account.world is not None
    (facade,) = (each for each in account.world.facades() if each.cloud == account.name)
    (entry,) = account.world.ledger.alive()
    facade.preempt(entry.id, 0.0)
    end = account.ended(launched.id)
    assert end.detail and isinstance(end.failure, CapacityError)
    assert launched.id not in {instance.id for instance in account.own()}


def test_an_incomplete_list_is_never_returned(rehearsed: Callable[[str], Account]) -> None:
    """When one of its questions fails the caller is told, whatever the others found."""
    account = rehearsed(
        "[[fault]]\ncloud = 'aws'\nop = 'DescribeInstances'\nerror = 'UnauthorizedOperation'\n"
        "[[fault]]\ncloud = 'gcp'\nop = 'compute.instances.*'\nerror = 'forbidden'\n"
        "[[fault]]\ncloud = 'oci'\nop = 'ListInstances'\nerror = 'NotAuthorizedOrNotFound'\n"
    )
    with pytest.raises(ProviderError):
        account.provider.list({OWNER_TAG: secrets.token_hex(4)}, [account.region])


def test_check_tells_what_remains_to_be_paid(emulated: Account) -> None:
    """Where a machine that cannot end itself would be paid for, check says so and what ends it."""
    (told,) = [one for one in emulated.provider.check() if one.subject == "self-end"]
    assert "what remains" in told.message and "`byoc reap`" in told.message
    risky = emulated.provider.traits.self_end != "gone"
    assert (told.level, bool(told.remedy)) == (("warn", True) if risky else ("ok", False))


# --- tags: whose it is, until when, and who says so -------------------------------------------


def test_any_value_of_a_tag_finds_it(account: Account, one: Instance) -> None:
    """A list for a tag with any value has what carries the tag, and not what lacks it."""
    found = account.provider.list({OWNER_TAG: ANY, TOKEN_TAG: ANY}, [account.region])
    assert one.id in {instance.id for instance in found}
    both = {OWNER_TAG: ANY, TOKEN_TAG: one.tags[TOKEN_TAG]}
    assert [instance.id for instance in account.provider.list(both, [account.region])] == [one.id]
    assert account.provider.list({OWNER_TAG: ANY, "byoc-no-such-tag": ANY}, [account.region]) == []


def test_any_owner_finds_what_is_left_behind(account: Account, one: Instance) -> None:
    """With ``everything`` a list for any owner has the other kinds as well."""
    mine = {thing.id for thing in account.own(everything=True) if thing.state != "ending"}
    anybodys = account.provider.list({OWNER_TAG: ANY}, [account.region], True)
    assert mine <= {thing.id for thing in anybodys}


def test_the_cloud_itself_tells_the_launch_token(account: Account, one: Instance) -> None:
    """What a launch made says by whose token, in every way of looking at it."""
    token = one.tags[TOKEN_TAG]
    assert one.origin == token
    assert {found.origin for found in account.own() if found.id == one.id} == {token}


def test_a_mark_changes_its_tags_and_no_others(account: Account) -> None:
    """Marking writes the tags that it names, anew as well; the others stay, and so does where the
    instance came from. Marking what is gone is no error."""
    launched = account.provider.launch(account.request(account.placed()))
    account.running(launched.id)
    try:
        before = dict(account.provider.get(launched.id).tags)
        for until_when in ("1800000000", "1800000900"):
            account.provider.mark(launched.id, {EXPIRES_TAG: until_when, RUN_TAG: "run-2.x_Y"})
        wanted = {**before, EXPIRES_TAG: "1800000900", RUN_TAG: "run-2.x_Y"}

        def told() -> bool:
            now = account.provider.get(launched.id)
            return dict(now.tags) == wanted and now.origin == launched.tags[TOKEN_TAG]

        until(told, account.patience, "the tags to be told")
        assert [i.id for i in account.provider.list({RUN_TAG: "run-2.x_Y"}, [account.region])] == [
            launched.id
        ]
    finally:
        account.provider.terminate(launched.id)
    account.ended(launched.id)
    account.provider.mark(launched.id, {EXPIRES_TAG: "1800001800"})
    for nowhere in NOWHERE[account.name]:
        account.provider.mark(nowhere, {EXPIRES_TAG: "1800001800"})


def test_marks_at_the_same_moment_all_arrive(account: Account, one: Instance) -> None:
    """Clients that mark one instance side by side overwrite none of each other's tags."""
    names = (EXPIRES_TAG, UNTIL_TAG)
    with ThreadPoolExecutor(len(names)) as pool:
        marks = pool.map(lambda name: account.another().provider.mark(one.id, {name: "1"}), names)
        assert list(marks) == [None, None]
    until(
        lambda: {account.provider.get(one.id).tags.get(name) for name in names} == {"1"},
        account.patience,
        "both tags to be told",
    )


def test_a_forged_token_is_not_the_origin(rehearsed: Callable[[str], Account]) -> None:
    """A token that was put on by hand does not become where an instance came from."""
    emulated = rehearsed("[policy]\nenforced = false")  # byoc's own policy lets nobody do it
    launched = emulated.provider.launch(emulated.request(emulated.placed()))
    emulated.running(launched.id)
    try:
        emulated.administrator().provider.mark(launched.id, {TOKEN_TAG: secrets.token_hex(16)})
        now = emulated.provider.get(launched.id)
        assert now.tags[TOKEN_TAG] != launched.tags[TOKEN_TAG]
        assert now.origin != now.tags[TOKEN_TAG]
    finally:
        emulated.provider.terminate(launched.id)


def test_a_firewall_that_was_reaped_is_made_again(rehearsed: Callable[[str], Account]) -> None:
    """A provider that knows a firewall which another client has removed since launches all the
    same, at the second try at the latest."""
    account = rehearsed("")
    if account.name == "gcp":
        pytest.skip("a launch names no rule there; one that is missed is made when nobody is met")
    first = account.provider.launch(account.request(account.placed()))
    account.provider.terminate(first.id)
    account.ended(first.id)
    other = account.another().provider
    for thing in account.own(everything=True):
        if thing.kind == "firewall":
            other.terminate(thing.id)
    request = account.request(account.placed())
    try:
        made = account.provider.launch(request)
    except TransientError:
        made = account.provider.launch(request)
    account.running(made.id)
    assert account.admitted()


def test_a_firewall_in_use_is_closed_and_stays(emulated: Account, one: Instance) -> None:
    """Ending a firewall shuts everybody out at once, also while something uses it; a launch after
    that opens it again."""
    firewalls = [one for one in emulated.own(everything=True) if one.kind == "firewall"]
    assert firewalls and emulated.admitted()
    for firewall in firewalls:
        # a rule that lets somebody in is removed whoever uses it
        if emulated.name == "gcp" and not firewall.id.endswith(SHUT):
            emulated.provider.terminate(firewall.id)
            assert emulated.provider.get(firewall.id).state == "gone"
        else:
            with pytest.raises(TransientError):
                emulated.provider.terminate(firewall.id)
            assert emulated.provider.get(firewall.id).state == "running"
    assert emulated.admitted() == []
    again = emulated.another()
    again.running(again.provider.launch(again.request(again.placed())).id)
    assert len(emulated.admitted()) >= 1
