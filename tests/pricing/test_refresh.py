"""The next catalogue out of the last and of quotes, its file, and which file is used."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.errors import StateError, TransientError
from byoc.pricing import catalog
from byoc.pricing.refresh import store
from byoc.pricing.refresh.merge import EMULATED, NO_PRICE, Merged, merge
from byoc.pricing.refresh.quotes import Doubt, Key, Live, Quote

LAST = """byoc catalogue 1
[sources]
2026-07-20	the list
2026-02	the history
2026-07-20	sold, but no price was found
[types]
big	H100	8	81920	192	96	2097152	x86_64	60
new	L4	1	24576	4	2	16384	x86_64	60
only	H200	8	144384	192	96	2097152	x86_64	60
small		0	0	2	1	8192	x86_64	60
[prices]
big	50	0	20	1	r1 r2
only	-		30	1	r1
small	0.1	0	?	2	r1 r2
"""
DAY = "2026-11-21"
OD, SPOT = "on-demand", "spot"
USUAL = {
    ("r1", "big", OD): 50.0, ("r2", "big", OD): 52.0, ("r1", "big", SPOT): 21.0,
    ("r2", "big", SPOT): 22.0, ("r1", "only", SPOT): 31.0, ("r1", "small", OD): 0.1,
    ("r2", "small", OD): 0.1, ("r1", "small", SPOT): 0.03, ("r2", "small", SPOT): 0.04,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A data folder of the test's own, and no file of another test's kept in memory."""
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "home"))
    catalog.forget()
    yield
    catalog.forget()


def live(prices: dict[Key, float], *regions: str, places: bool = True, **more: bool) -> Live:
    quotes = {key: Quote(dollars, "a list") for key, dollars in prices.items()}
    return Live(quotes, frozenset(regions or ("r1", "r2")), places=places, **more)


def merged(changes: dict[Key, float | None], accept: bool = False, places: bool = True) -> Merged:
    """The next catalogue for the usual prices with these changes; None leaves one out."""
    prices = {k: v for k, v in {**USUAL, **changes}.items() if v is not None}
    return merge("aws", catalog.parse("aws", LAST), live(prices, places=places), DAY, accept)


def price(found: Merged, *key: str) -> float | None:
    region, kind, market = key
    return found.table[region, kind, market].price


# --- merging ------------------------------------------------------------------------------------


def test_what_the_lists_have_is_taken() -> None:
    """Each price is the list's, with its date and source; what was unknown is known then."""
    found = merged({})
    assert {key: cell.price for key, cell in found.table.items()} == USUAL
    assert {cell.source for cell in found.table.values()} == {(DAY, "a list")}
    assert (found.fresh, found.changed, found.added, found.kept) == (9, 6, 0, 0)
    assert not found.held and not found.doubts


def test_what_no_list_has_stays_with_its_date() -> None:
    """A price that is in no list is kept as it was, and so is one that was not known."""
    found = merged({("r1", "big", SPOT): None, ("r2", "small", SPOT): None})
    assert found.table["r1", "big", SPOT] == (20.0, ("2026-02", "the history"))
    assert found.table["r2", "small", SPOT] == (None, ("2026-07-20", NO_PRICE))
    assert found.kept == 1


@pytest.mark.parametrize("factor", [3.1, 0.3])
def test_a_jump_is_held_back_until_it_is_accepted(factor: float) -> None:
    """More than threefold, up or down: the old price stays and the new one is told; --accept takes
    it. Of a price that was unknown, those of other regions tell what is usual."""
    key = ("r1", "big", SPOT) if factor < 1 else ("r2", "big", OD)
    old = 20.0 if factor < 1 else 50.0
    found = merged({key: old * factor})
    assert price(found, *key) == old and found.held == ((*key, old, old * factor),)
    assert price(merged({key: old * factor}, accept=True), *key) == pytest.approx(old * factor)


@pytest.mark.parametrize(("factor", "held"), [(2.9, False), (0.35, False), (1.0, False)])
def test_smaller_changes_are_taken(factor: float, held: bool) -> None:
    """Up to threefold is what prices do."""
    found = merged({("r1", "big", OD): 50.0 * factor, ("r1", "big", SPOT): 10.0})
    assert bool(found.held) is held and price(found, "r1", "big", OD) == 50.0 * factor


def test_a_spot_price_above_the_on_demand_price_is_none() -> None:
    """It is not taken, whatever is accepted; at the on-demand price, which is the cap, it is."""
    found = merged({("r1", "big", SPOT): 50.1}, accept=True)
    assert price(found, "r1", "big", SPOT) == 20.0
    [doubt] = found.doubts
    assert doubt[:3] == ("r1", "big", SPOT) and "above" in doubt.why
    assert price(merged({("r1", "big", SPOT): 50.0}), "r1", "big", SPOT) == 50.0


def test_an_old_spot_price_above_the_new_on_demand_price_is_forgotten() -> None:
    """When on demand became cheaper than the spot price that was kept, none is known."""
    found = merged({("r1", "big", OD): 18.0, ("r1", "big", SPOT): None})
    assert found.table["r1", "big", SPOT] == (None, (DAY, NO_PRICE))


def test_what_can_be_launched_stays_as_packaged() -> None:
    """A price of a market on which a type is not sold does not put it there."""
    found = merged({("r1", "only", OD): 63.0})
    assert ("r1", "only", OD) not in found.table and price(found, "r1", "only", SPOT) == 31.0


def test_a_known_type_may_appear_elsewhere() -> None:
    """Where lists tell where a type is sold, it is added there, on the markets that it has; a spot
    price alone adds nothing, nor does a list without places, nor an unusual price."""
    there = {("r3", "big", OD): 55.0, ("r3", "small", SPOT): 0.05, ("r2", "only", SPOT): 33.0,
             ("r2", "only", OD): 63.0, ("r4", "big", OD): 500.0}  # fmt: skip
    found = merged(dict(there))
    assert price(found, "r3", "big", OD) == 55.0 and price(found, "r3", "big", SPOT) is None
    assert price(found, "r2", "only", SPOT) == 33.0 and ("r2", "only", OD) not in found.table
    assert not any(key[:2] == ("r3", "small") for key in found.table)
    assert found.added == 2 and [one.new for one in found.held] == [500.0]
    without = merged(dict(there), places=False)
    assert set(without.table) == set(USUAL)


def test_unknown_types_are_not_added() -> None:
    """Hardware is not in a list of prices: a type that the catalogue lacks is left out."""
    assert not any(key[1] == "huge" for key in merged({("r1", "huge", OD): 9.0}).table)


@pytest.mark.parametrize(
    "left", [{("r1", "big", OD): 50.0}, {}, {k: v for k, v in USUAL.items() if k[0] == "r1"}]
)
def test_a_list_without_half_of_what_is_known_is_refused(left: dict[Key, float]) -> None:
    """In all, or in one region: the error says how much is there."""
    with pytest.raises(TransientError, match=r"not complete|no list"):
        merge("aws", catalog.parse("aws", LAST), live(left), DAY)


def test_spot_prices_without_half_of_them_are_refused() -> None:
    """A history that ends early is no history."""
    cut: dict[Key, float | None] = {
        key: None for key in USUAL if key[2] == SPOT and key[1] != "small" and key[0] == "r1"
    }
    with pytest.raises(TransientError, match="spot prices of aws are not complete: 1 of 3"):
        merged(cut)


def test_a_region_that_could_not_be_asked_is_kept() -> None:
    """A region that the account has not enabled is no loss; when all are such it is an error."""
    one = {key: value for key, value in USUAL.items() if key[0] == "r1"}
    last = catalog.parse("aws", LAST)
    found = merge("aws", last, live(one, "r1"), DAY)
    assert price(found, "r2", "big", OD) == 50.0 and found.kept == 3
    with pytest.raises(TransientError, match="no list"):
        merge("aws", last, Live({}, frozenset(), {"r1": "not enabled"}), DAY)


# --- the file -----------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read() -> None:
    """The file has the packaged ones' layout: prices, markets, sources and hardware survive."""
    found = merged({("r2", "small", SPOT): None})
    text = store.text(found)
    again = catalog.parse("aws", text)
    assert {k: again.offers[at].price for k, at in again.places.items()} == {
        key: cell.price for key, cell in found.table.items()
    }
    assert {k: again.sources[at] for k, at in again.places.items()} == {
        key: cell.source for key, cell in found.table.items()
    }
    assert again.types == catalog.parse("aws", LAST).types


@pytest.mark.parametrize("cloud", ["aws", "gcp", "oci"])
def test_a_packaged_catalogue_survives_a_refresh_without_news(cloud: str) -> None:
    """Quotes that equal what is packaged give the same offers, with today's date, and hardware to
    the byte; written twice it is the same text."""
    last = catalog.packaged(cloud)
    quotes = {
        key: Quote(price, "a list")
        for key, at in last.places.items()
        if (price := last.offers[at].price) is not None
    }
    regions = frozenset(key[0] for key in last.places)
    text = store.text(merge(cloud, last, Live(quotes, regions), DAY))
    again = catalog.parse(cloud, text)
    assert sorted(again.offers, key=lambda one: one.key()) == sorted(
        last.offers, key=lambda one: one.key()
    )
    told = {one.date for one, offer in zip(again.sources, again.offers, strict=True) if offer.price}
    assert told == {DAY}
    assert text == store.text(merge(cloud, again, Live(quotes, regions), DAY))


def test_a_refreshed_file_is_used_and_private() -> None:
    """It wins over the packaged one at once, keeps its dates, and only its owner may read it."""
    last = catalog.packaged("oci")
    key = ("us-ashburn-1", "BM.GPU.H100.8", OD)
    before = catalog.find("oci", *key)
    quotes = {k: Quote(last.offers[at].price or 0, "a list") for k, at in last.places.items()}
    found = merge("oci", last, Live({**quotes, key: Quote(88.0, "it")}, frozenset({key[0]})), DAY)
    path = store.write("oci", store.text(found))
    catalog.forget()
    offer = catalog.find("oci", *key)
    assert offer is not None and offer.price == 88.0 and before is not None and before.price == 80.0
    assert catalog.source(offer) == (DAY, "it") and catalog.in_use("oci").own
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == path.parent.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["oci.tsv"]


def put(text: str | bytes, cloud: str = "oci") -> Path:
    path = catalog.own_file(cloud)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    catalog.forget()
    return path


def refreshed(day: str = DAY) -> str:
    last = catalog.packaged("oci")
    quotes = {k: Quote(last.offers[at].price or 0, "a list") for k, at in last.places.items()}
    regions = frozenset(key[0] for key in last.places)
    return store.text(merge("oci", last, Live(quotes, regions), day))


GOOD = refreshed()


@pytest.mark.parametrize(
    "content",
    [
        "",
        b"\xff\xfe\x00",
        GOOD.replace("byoc catalogue 1", "byoc catalogue 2"),
        GOOD[: len(GOOD) // 2],
        GOOD[:-40],
        GOOD[: GOOD.rindex("VM.Standard.E6.Flex:4o")],
        GOOD.partition("[prices]")[0],
        GOOD.partition("[prices]")[0] + "[prices]\n",
        GOOD.replace("\t80\t", "\t-80\t"),
        GOOD.replace("\t80\t", "\tnan\t"),
        GOOD.replace("\t80\t", "\tinf\t"),
        GOOD.replace("\t80\t0", "\t80\t999"),
        GOOD.replace("\n[types]", "\nno tab here\n[types]"),
        GOOD.replace("\t", " "),
        GOOD + "x" * (5 * 1024 * 1024),
        "{}",
    ],
)
def test_a_damaged_file_is_told_once_and_ignored(
    content: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in it, the packaged prices are used, and one warning says what to do."""
    put(content)
    with caplog.at_level(logging.WARNING, "byoc"):
        assert catalog.offers("oci") == list(catalog.packaged("oci").offers)
        catalog.offers("oci")
    used = catalog.in_use("oci")
    told = [record for record in caplog.records if "byoc prices refresh" in record.getMessage()]
    assert not used.own and len(told) == 1 and used.ignored


def test_a_file_that_is_none_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """A folder in its place is told and does no harm."""
    catalog.own_file("oci").mkdir(parents=True)
    catalog.forget()
    assert catalog.offers("oci") and "cannot be read" in caplog.text


def test_an_older_file_gives_way() -> None:
    """After byoc itself came with newer prices, those are used, and the status says why."""
    put(refreshed("2025-01-01").replace("2026-", "2024-"))
    used = catalog.in_use("oci")
    assert not used.own and "older" in used.ignored
    put(GOOD)
    assert catalog.in_use("oci").own


def test_a_file_of_another_byoc_is_still_an_error_when_packaged() -> None:
    """Only the user's own file is forgiven: a broken package says so."""
    with pytest.raises(StateError, match="price list of aws"):
        catalog.parse("aws", "{}")


def test_files_are_written_whole_by_many_at_once() -> None:
    """Whoever reads meanwhile reads one of the files, never a mixture, and nothing is left over."""
    texts = [refreshed(f"2026-11-{day}") for day in (21, 22, 23)]
    put(texts[0])
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            if catalog.own_file("oci").read_text() not in texts:
                wrong.append("a mixture")

    def write(text: str) -> None:
        for _ in range(10):
            store.write("oci", text)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not wrong
    assert [file.name for file in catalog.own_file("oci").parent.iterdir()] == ["oci.tsv"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The message names the file; nothing is left behind."""
    home = tmp_path / "home"
    home.write_text("a file")
    with pytest.raises(StateError, match=r"oci\.tsv"):
        store.write("oci", GOOD)
    home.unlink()
    catalog.own_file("oci").mkdir(parents=True)
    with pytest.raises(StateError, match=r"oci\.tsv"):
        store.write("oci", GOOD)
    assert os.listdir(home / "prices") == ["oci.tsv"]


def test_words_of_others_stay_in_their_column() -> None:
    """A tab or a line break in a source's text breaks no file."""
    last = catalog.parse("aws", LAST)
    odd = {key: Quote(price, "a\tlist\nof [types]") for key, price in USUAL.items()}
    text = store.text(merge("aws", last, Live(odd, frozenset({"r1", "r2"})), DAY))
    assert {one.text for one in catalog.parse("aws", text).sources} == {"a list of [types]"}


def test_an_emulated_accounts_prices_say_so() -> None:
    """Their source begins with a word, by which the next refresh does not hold prices to them."""
    last = catalog.parse("aws", LAST)
    found = merge("aws", last, live(dict(USUAL), emulated=True), DAY)
    assert all(cell.source.text.startswith(EMULATED) for cell in found.table.values())


def test_doubts_of_the_lists_are_passed_on() -> None:
    """What a list itself had wrong is told with what merging finds."""
    doubt = Doubt("r1", "big", OD, "two prices")
    odd = live(dict(USUAL))._replace(doubts=(doubt,))
    assert merge("aws", catalog.parse("aws", LAST), odd, DAY).doubts == (doubt,)


def test_reading_stays_quick() -> None:
    """A refreshed file, its packaged one beside it, is read in far less than the 30 ms that a cold
    query may take."""
    put(GOOD)
    began = time.process_time()
    assert catalog.in_use("oci").own
    assert time.process_time() - began < 0.03
