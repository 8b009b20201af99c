"""What the clouds' adapters have in common: findings, offers, zones, tags, fresh instances."""

from __future__ import annotations

import email.utils
from collections.abc import Callable

import pytest

from byoc.errors import AccessError, ProviderError, QuotaError, TransientError
from byoc.pricing import catalog
from byoc.providers import found, recent, tags
from byoc.providers.base import PRICE_TAG, HostKey, Instance, LaunchRequest
from byoc.providers.findings import failed, skew
from byoc.providers.prepared import Zones
from byoc.providers.recent import Recent
from byoc.providers.table import restated
from tests.fleet.world import HandClock

NOW = 1_800_000_000.0


def refusal(code: str = "Gone") -> AccessError:
    """What a cloud answered."""
    return AccessError(
        "not found, or not allowed", provider="oci", vendor_code=code, request_id="r-1",
        scope="cloud", remember=300.0, hints=("Allow it.",),
    )  # fmt: skip


def an_instance(id: str = "i-1") -> Instance:
    """One that was launched a moment ago."""
    return Instance("oci", id, "pending", found.bare("oci", "region", "zone", "VM.One"), {})


@pytest.mark.parametrize(
    ("off", "level", "way"),
    [(0, "ok", " off "), (60, "ok", " off "), (61, "warn", "behind"), (-61, "warn", "ahead of"),
     (300, "warn", "behind"), (-301, "fail", "ahead of")],
)  # fmt: skip
def test_the_clock_is_judged_by_the_answer(off: float, level: str, way: str) -> None:
    """A minute is fine, five are the end of it; which way it is wrong is said."""
    [one] = skew("AWS", email.utils.formatdate(NOW + off, usegmt=True), HandClock(NOW))
    assert one.level == level and way in one.message
    assert bool(one.remedy) is (level != "ok")


def test_an_answer_without_a_date_says_nothing_of_the_clock() -> None:
    """No finding is better than a wrong one."""
    assert skew("AWS", "", HandClock(NOW)) == []


def test_a_refusal_is_a_finding_with_the_clouds_words() -> None:
    """Code, message and request id are told; the remedy is the hint, or to try again."""
    one = failed("OCI", "limits", refusal(), "warn")
    assert (one.level, one.subject, one.remedy) == ("warn", "limits", "Allow it.")
    assert one.message == "Gone: not found, or not allowed (request r-1)"
    assert "OCI's own" in failed("OCI", "limits", QuotaError("none left")).remedy


def test_a_restated_refusal_keeps_what_the_cloud_said() -> None:
    """Its code and request stay; what it shut, and for how long, does not."""
    one = restated(refusal(), TransientError, "it is in use", "Wait.")
    assert (one.provider, one.vendor_code, one.request_id) == ("oci", "Gone", "r-1")
    assert (one.message, one.scope, one.remember) == ("it is in use", "request", 0.0)
    assert tuple(one.hints) == ("Wait.",)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("0.25", 0.25),
        ("0", 0.0),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("x", None),
    ],
)
def test_a_price_tag_is_read_with_care(text: str, price: float | None) -> None:
    """Anybody may write a tag: what is no price is none."""
    assert found.price({PRICE_TAG: text}) == price and found.price({}) is None


def test_an_offer_that_was_found_is_the_catalogues_at_its_own_price() -> None:
    """Hardware comes from the catalogue, place and price from what was found; of a type that the
    catalogue does not know, what the cloud tells is kept."""
    known = catalog.offers("aws")[0]
    bare = found.bare("aws", known.region, "zone-1", known.type, known.market)
    one = found.offer(bare, {PRICE_TAG: "9.5"})
    assert (one.zone, one.price) == ("zone-1", 9.5)
    assert (one.cpus, one.memory, one.gpu) == (known.cpus, known.memory, known.gpu)
    assert found.offer(bare, {}).price == known.price
    strange = found.bare("aws", known.region, "zone-1", "x9.huge")._replace(cpus=7.0)
    assert found.offer(strange, {}) == strange
    elsewhere = found.offer(bare._replace(region="mars-1"), {})
    assert (elsewhere.region, elsewhere.memory, elsewhere.price) == ("mars-1", known.memory, None)


def test_what_was_just_launched_is_not_called_gone() -> None:
    """For a minute it is shown as it was launched, and its end is asked for again."""
    clock = HandClock()
    fresh = Recent("EC2", clock)
    made = fresh.add(an_instance())
    told = fresh.get(made.id)
    assert told is not None and "EC2 does not show it yet" in told.detail
    with pytest.raises(TransientError, match="which it has just launched"):
        fresh.check(made.id, refusal())
    fresh.check("i-2", refusal())
    clock.sleep(recent.SPREADING + 1.0)
    assert fresh.get(made.id) is None
    fresh.check(made.id, refusal())


def test_a_zone_is_chosen_once_for_a_token() -> None:
    """A launch that is tried again goes to the same zone; one that names a zone is left alone."""
    offer = found.bare("gcp", "region", "", "e2-medium")
    request = LaunchRequest("t-1", offer, {}, HostKey("", ""), "", 900.0)
    zones, asked = Zones(), iter(["a", "b"])
    assert zones.placed(request, lambda: next(asked)).offer.zone == "a"
    assert zones.placed(request, lambda: next(asked)).offer.zone == "a"
    other = request._replace(token="t-2")
    assert zones.placed(other, lambda: next(asked)).offer.zone == "b"
    named = request._replace(offer=offer._replace(zone="c"))
    assert zones.placed(named, lambda: next(asked)) == named


def failing(times: int, code: str) -> Callable[[], None]:
    """A write that is refused so often."""
    left = [refusal(code)] * times

    def write() -> None:
        if left:
            raise left.pop()

    return write


def test_tags_are_written_again_when_somebody_was_faster() -> None:
    """A lost race is run again, a few times; any other refusal is raised at once."""

    def raced(error: ProviderError) -> bool:
        return error.vendor_code == "Changed"

    tags.rewritten(failing(tags.MARK_TRIES - 1, "Changed"), raced)
    with pytest.raises(AccessError):
        tags.rewritten(failing(tags.MARK_TRIES, "Changed"), raced)
    with pytest.raises(AccessError):
        tags.rewritten(failing(1, "Denied"), raced)
