"""Finding, showing and ending what is rented on OCI."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from byoc.clock import SYSTEM
from byoc.emulator.oci.facade import OciFacade
from byoc.errors import AccessError, ProviderError, TransientError
from byoc.providers.base import OWNER_TAG, TOKEN_TAG
from byoc.providers.looking import Lookout
from byoc.providers.oci import console
from byoc.providers.oci.looking import MOST, asking
from tests.clouds.oci.conftest import OWNER, REGION, MakeTenancy, Tenancy, offer, request
from tests.helpers import until

ABSENT = '[[fault]]\ncloud = "oci"\nop = "{op}"\nerror = "NotAuthorizedOrNotFound"\ntimes = -1\n'


def test_lists_are_read_to_their_end(tenancy: Tenancy) -> None:
    """Pages may be empty while later ones are not, and are shorter than what there is."""
    pages = OciFacade(tenancy.world, tenancy.cloud.home / "pages", empty_pages=True)
    pages.start()
    try:
        environ = {**tenancy.cloud.environ, **pages.environment()}
        options = {
            "endpoint": environ["BYOC_OCI_ENDPOINT"],
            "config_file": environ["OCI_CONFIG_FILE"],
        }
        provider = type(tenancy.provider)(tenancy.cloud.home, SYSTEM, environ, options)
        made = {provider.launch(request(token=f"{number:032d}")).id for number in range(3)}
        assert {one.id for one in provider.list({OWNER_TAG: OWNER})} == made
        one = next(iter(made))
        until(lambda: provider.get(one).address)
    finally:
        pages.stop()


def test_a_list_has_only_what_carries_all_tags(tenancy: Tenancy) -> None:
    """The cloud cannot filter on tags, so the client does."""
    first = tenancy.provider.launch(request(token="1" * 32))
    other = request(token="2" * 32)._replace(tags={OWNER_TAG: "someone-else"})
    tenancy.provider.launch(other)
    assert [one.id for one in tenancy.provider.list({OWNER_TAG: OWNER})] == [first.id]
    assert [one.id for one in tenancy.provider.list({TOKEN_TAG: "1" * 32})] == [first.id]
    assert tenancy.provider.list({OWNER_TAG: OWNER, TOKEN_TAG: "2" * 32}) == []
    assert len(tenancy.provider.list({})) == 2


def test_a_list_covers_every_region(tenancy: Tenancy) -> None:
    """Instances of all regions are found; a region that is not named is not asked; one that the
    tenancy does not have holds nothing."""
    there = "eu-frankfurt-1"
    home = tenancy.provider.launch(request(token="1" * 32))
    away = offer(zone="Uocm:EU-FRANKFURT-1-AD-2")._replace(region=there)
    far = tenancy.provider.launch(request(away, "2" * 32))
    assert {one.id for one in tenancy.provider.list({OWNER_TAG: OWNER})} == {home.id, far.id}
    (seen,) = tenancy.provider.list({OWNER_TAG: OWNER}, (there, "mars-north-1"))
    assert (seen.id, seen.offer.region) == (far.id, there)
    assert tenancy.provider.get(far.id).offer.region == there
    assert tenancy.provider.list({}, ("mars-north-1",)) == []


def test_an_incomplete_list_is_never_given(tenancy_with: MakeTenancy) -> None:
    """One region that does not answer fails the list."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "ListInstances"\nerror = "NotAuthorized"\ntimes = -1\n'
        'match = { region = "us-phoenix-1" }'
    )
    with pytest.raises(AccessError):
        tenancy.provider.list({OWNER_TAG: OWNER})


def test_a_listed_instance_has_its_address(tenancy: Tenancy) -> None:
    """One and many: each running instance is listed with where it is reached."""
    made = [tenancy.provider.launch(request(token=f"{number:032d}")) for number in range(3)]
    known = {one.id: tenancy.running(one.id).address for one in made}
    listed = {one.id: one.address for one in tenancy.provider.list({OWNER_TAG: OWNER})}
    assert listed == known and len(set(known.values())) == 3
    tenancy.provider.terminate(made[0].id)
    tenancy.provider.terminate(made[1].id)
    tenancy.gone(made[0].id)
    tenancy.gone(made[1].id)
    (last,) = tenancy.provider.list({OWNER_TAG: OWNER})
    assert last.address == known[made[2].id]


def test_a_new_instance_that_is_not_shown_yet_is_pending(tenancy_with: MakeTenancy) -> None:
    """Reads lag behind: who launched it waits, and another client's answer is the one for an
    unknown id, without a reason."""
    tenancy = tenancy_with("[list]\nlag = 2.0")
    made = tenancy.provider.launch(request())
    unseen = tenancy.provider.get(made.id)
    assert (unseen.state, unseen.detail) == ("pending", "OCI does not show it yet")
    unseen = tenancy.another().get(made.id)
    assert (unseen.state, unseen.detail, unseen.failure) == ("gone", "", None)
    assert tenancy.running(made.id).address


def test_an_address_comes_late(tenancy_with: MakeTenancy) -> None:
    """A running instance without a public address says what is waited for."""
    tenancy = tenancy_with("[boot]\naddress_delay = 0.5")
    made = tenancy.provider.launch(request())
    seen = until(lambda: _running(tenancy, made.id))
    assert (seen.address, seen.port) == ("", 0)
    assert seen.detail == "it has no address yet"
    assert tenancy.running(made.id).detail == ""


def test_a_404_is_gone_only_when_instances_may_be_listed(tenancy_with: MakeTenancy) -> None:
    """Without the right to list, a 404 is a matter of permission, and nothing is called gone."""
    tenancy = tenancy_with(ABSENT.format(op="ListInstances"))
    with pytest.raises(AccessError):
        tenancy.provider.get("ocid1.instance.oc1.iad.nothing")
    with pytest.raises(AccessError):
        tenancy.provider.terminate("ocid1.instance.oc1.iad.nothing")


def test_a_termination_that_is_not_allowed_is_an_error(tenancy_with: MakeTenancy) -> None:
    """A 404 for an instance that is there means that it may not be ended, not that it has ended."""
    tenancy = tenancy_with(ABSENT.format(op="TerminateInstance"))
    made = tenancy.provider.launch(request())
    with pytest.raises(AccessError):
        tenancy.provider.terminate(made.id)


def test_a_termination_that_hits_a_closed_state_is_tried_again(tenancy_with: MakeTenancy) -> None:
    """IncorrectState passes: the SDK asks again."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "TerminateInstance"\nerror = "IncorrectState"\ntimes = 2'
    )
    made = tenancy.provider.launch(request())
    tenancy.provider.terminate(made.id)
    assert tenancy.gone(made.id).state == "gone"
    assert len(tenancy.calls("TerminateInstance")) == 3


def test_ending_twice_is_ending_once(tenancy: Tenancy) -> None:
    """While it ends, after it has ended, and when it never was: no error."""
    made = tenancy.provider.launch(request())
    tenancy.provider.terminate(made.id)
    tenancy.provider.terminate(made.id)
    assert tenancy.provider.get(made.id).state in {"ending", "gone"}
    tenancy.gone(made.id)
    tenancy.provider.terminate(made.id)
    tenancy.provider.terminate("ocid1.instance.oc1.iad.nothing")
    tenancy.provider.terminate("nonsense")
    assert tenancy.facade.leftovers() == []


def test_a_kept_boot_volume_is_found_and_removed(tenancy: Tenancy) -> None:
    """Somebody ended an instance and kept its disk: it is ours by its name, and costs money."""
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    client = tenancy.provider._account.client("compute")
    client.terminate_instance(made.id, preserve_boot_volume=True)
    tenancy.gone(made.id)
    (left,) = [
        one
        for one in tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), everything=True)
        if one.kind == "disk"
    ]
    assert tenancy.facade.leftovers()[0]["id"] == left.id
    assert "Boot Volume" in left.detail and tenancy.provider.get(left.id).kind == "disk"
    assert [
        one.kind
        for one in tenancy.provider.list(
            {OWNER_TAG: OWNER, TOKEN_TAG: "a" * 32}, (REGION,), everything=True
        )
    ] == ["disk"]
    others = tenancy.provider.list({OWNER_TAG: "own-other"}, (REGION,), everything=True)
    assert others == []
    tenancy.provider.terminate(left.id)
    tenancy.provider.terminate(left.id)
    assert tenancy.provider.get(left.id).state == "gone"


def test_a_disk_in_use_is_no_leftover(tenancy: Tenancy) -> None:
    """The boot volume of a living instance is not listed beside it."""
    tenancy.provider.launch(request())
    found = tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,), everything=True)
    assert "disk" not in [one.kind for one in found]


def test_the_console_is_what_the_machine_printed(tenancy_with: MakeTenancy) -> None:
    """Its end, and OCI's copy is deleted afterwards; empty for what is not there."""
    tenancy = tenancy_with('[boot]\nconsole = "the end is near"')
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    assert "the end is near" in tenancy.provider.console(made.id)
    compute = tenancy.administrator().client("compute")
    copies = compute.list_console_histories(tenancy.facade.tenancy)
    assert copies.data == []
    assert tenancy.provider.console("ocid1.instance.oc1.iad.nothing") == ""
    assert tenancy.provider.console("nonsense") == ""


def test_a_long_console_is_cut_to_its_end() -> None:
    """At most 64 KiB, the newest."""

    class Client:
        def get_console_history(self, id: str) -> object:
            return _answer(lifecycle_state="SUCCEEDED")

        def get_console_history_content(self, id: str, length: int) -> object:
            return type("Answer", (), {"data": b"x" * length + b"end"})

    text = console._content(Client(), "id", SYSTEM)
    assert len(text) == console.LENGTH and text.endswith("xend")


def test_throttled_questions_are_asked_again(tenancy_with: MakeTenancy) -> None:
    """All but the launch use the SDK's retries, for a minute at most."""
    tenancy = tenancy_with(
        '[[fault]]\ncloud = "oci"\nop = "ListInstances"\nerror = "TooManyRequests"\ntimes = 2\n'
        f'match = {{ region = "{REGION}" }}'
    )
    assert tenancy.provider.list({OWNER_TAG: OWNER}, (REGION,)) == []
    assert len(tenancy.calls("ListInstances")) == 3


def test_a_cloud_that_does_not_answer_is_transient(tenancy: Tenancy) -> None:
    """No server at all, and a connection that drops: transient errors of byoc's own."""
    provider = tenancy.another(endpoint="http://127.0.0.1:1/{region}")
    with pytest.raises(TransientError) as caught:
        provider.get("ocid1.instance.oc1.iad.nothing")
    assert isinstance(caught.value, ProviderError) and caught.value.provider == "oci"


def _running(tenancy: Tenancy, id: str):  # type: ignore[no-untyped-def]
    found = tenancy.provider.get(id)
    return found if found.state == "running" else None


def _answer(**fields: object) -> object:
    return type("Answer", (), {"data": type("Data", (), fields)})


def test_many_looks_at_once_are_few_requests() -> None:
    """While one request is under way the others gather, and are answered from one list; what the
    list lacks is asked for by itself."""
    asked: list[str] = []
    gate, begun = threading.Event(), threading.Event()

    def one(id: str) -> str:
        asked.append(id)
        begun.set()
        gate.wait(10)
        if id == "lost":
            raise AccessError("no")
        return f"one {id}"

    def many() -> dict[str, str]:
        asked.append("list")
        return {f"i{number}": f"many i{number}" for number in range(20)}

    lookout = Lookout(asking(one, many), MOST)
    with ThreadPoolExecutor(24) as pool:
        first = pool.submit(lookout.look, "first")
        assert begun.wait(10)
        rest = [pool.submit(lookout.look, f"i{number}") for number in range(20)]
        lost = pool.submit(lookout.look, "lost")
        until(lambda: len(lookout._waiting) == 21)
        gate.set()
        assert first.result(10) == "one first"
        assert [one.result(10) for one in rest] == [f"many i{number}" for number in range(20)]
        with pytest.raises(AccessError):
            lost.result(10)
    assert sorted(asked) == ["first", "list", "lost"]


def test_a_list_that_fails_is_told_to_all_who_asked() -> None:
    """Nobody is left waiting."""
    begun, gate = threading.Event(), threading.Event()

    def one(id: str) -> str:
        begun.set()
        gate.wait(10)
        return id

    def many() -> dict[str, str]:
        raise AccessError("no")

    lookout = Lookout(asking(one, many), MOST)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lookout.look, "a")
        assert begun.wait(10)
        rest = [pool.submit(lookout.look, name) for name in ("b", "c")]
        until(lambda: len(lookout._waiting) == 2)
        gate.set()
        assert first.result(10) == "a"
        for one_of in rest:
            with pytest.raises(AccessError):
                one_of.result(10)


def test_an_address_is_asked_for_once(tenancy: Tenancy) -> None:
    """Its network card is not asked again while the instance runs."""
    made = tenancy.provider.launch(request())
    tenancy.running(made.id)
    before = len(tenancy.calls("GetVnic"))
    for _ in range(5):
        assert tenancy.provider.get(made.id).address
    assert len(tenancy.calls("GetVnic")) == before
    tenancy.provider.terminate(made.id)
    assert tenancy.gone(made.id).address == ""
