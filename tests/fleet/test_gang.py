"""Gangs: all instances on one rung, side by side, or none of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.errors import CancelledError, CapacityError, Error, PlacementError, ProviderError
from byoc.fleet.held import Held
from byoc.providers.base import MESH_TAG, TOKEN_TAG, LaunchRequest
from byoc.resources import Offer, Resources
from tests.fleet.regions import always, cloud, told, whole, world_of
from tests.fleet.world import Fault, FileCloud, World

SMALL = Resources(cpu=1, memory=512)
NODES = (0, 1, 2, 3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """No cloud yet."""
    made = world_of(tmp_path)
    yield made
    made.close()


def out() -> CapacityError:
    return CapacityError("none left", vendor_code="Stockout", scope="type@zone", remember=180.0)


def nth(number: int, error: ProviderError) -> Callable[[Offer], ProviderError | None]:
    """A cloud's ``refuses``: only the launch of this number, from 0."""
    count = itertools.count()
    return lambda offer: error if next(count) == number else None


def places(found: list[Held]) -> set[str]:
    return {held.instance.offer.key() for held in found}


def live(one: FileCloud) -> set[str]:
    return {instance.id for instance in one.live()}


def test_all_are_launched_on_one_rung_under_tokens_of_their_own(world: World) -> None:
    """Four instances of one offer in one zone, each with its own token, key and attempt, and marked
    as reachable by the others."""
    one = cloud(world, "one", whole("one"))
    found = world.fleet().gang(SMALL, "run-1", NODES)
    assert places(found) == {"one/r1/r1a/small/on-demand"}
    assert live(one) == {held.instance.id for held in found}
    assert len(live(one)) == 4
    assert len({request.token for request in one.requests}) == 4
    assert len({request.host_key.public for request in one.requests}) == 4
    assert all(request.mesh and request.tags[MESH_TAG] == "1" for request in one.requests)
    assert [outcome for _, outcome, _, _ in told(world)] == ["ok"] * 4


@pytest.mark.parametrize("number", range(4))
def test_one_refusal_of_four_ends_the_others_and_moves_on(world: World, number: int) -> None:
    """Whichever is refused: the others are ended, the refusal is remembered, and all four are had
    on the next rung."""
    one = cloud(world, "one", whole("one"))
    one.refuses = nth(number, out())
    fleet = world.fleet()
    found = fleet.gang(SMALL, "run-1", NODES)
    assert places(found) == {"one/r1/r1b/small/on-demand"}
    fleet.settle()
    assert live(one) == {held.instance.id for held in found}
    refused = [code for offer, _, _, code in told(world) if "r1a" in offer and code]
    assert refused == ["Stockout"]
    assert [r.zone for r in world.journals[-1].refusals(world.clock.wall())] == ["r1a"]


def test_one_that_never_answers_ends_the_others(world: World) -> None:
    """A machine that does not boot costs the rung, and all of them go on to the next."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(), Fault(boot=None), Fault(), Fault()]
    fleet = world.fleet()
    found = fleet.gang(SMALL, "run-1", NODES)
    fleet.settle()
    assert len(places(found)) == 1
    assert "r1a" not in places(found).pop()
    assert live(one) == {held.instance.id for held in found}


def test_none_is_left_when_no_rung_has_them_all(world: World) -> None:
    """Every zone has room for three of four: nothing is had, and nothing stays."""
    one = cloud(world, "one", whole("one"))
    count: dict[str, int] = {}

    def three(offer: Offer) -> ProviderError | None:
        count[offer.zone] = count.get(offer.zone, 0) + 1
        return out() if count[offer.zone] > 3 else None

    one.refuses = three
    fleet = world.fleet()
    with pytest.raises((PlacementError, CapacityError)):
        fleet.gang(SMALL, "run-1", NODES)
    fleet.settle()
    assert live(one) == set()
    assert len(count) == 3


def test_one_who_gives_up_in_the_middle_leaves_none(world: World) -> None:
    """The client is told to stop while some have booted and others have not: all end."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(), Fault(boot=50.0), Fault(boot=50.0), Fault()]
    begun = world.clock.mono()
    fleet = world.fleet()
    with pytest.raises(CancelledError):
        fleet.gang(SMALL, "run-1", NODES, stop=lambda: world.clock.mono() - begun > 10.0)
    fleet.settle()
    assert one.ever() == 4
    assert live(one) == set()
    assert not world.journals[-1].intents()


def test_an_interrupt_leaves_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while all of them are being waited for."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(boot=1e9)] * 4
    fleet = world.fleet()
    patience = itertools.count()

    def result(task: object) -> None:
        if next(patience) == 0:
            raise KeyboardInterrupt
        task._thread.join()  # type: ignore[attr-defined]

    monkeypatch.setattr("byoc.fleet.gang.Task.result", result)
    with pytest.raises(KeyboardInterrupt):
        fleet.gang(SMALL, "run-1", NODES)
    monkeypatch.undo()
    fleet.settle()
    assert live(one) == set()


def test_a_zone_that_the_cloud_chooses_is_that_of_all(world: World) -> None:
    """Where zones are not told, the first instance's counts for the others."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = ProviderError("not today", provider="one")
    made = one._new

    def chosen(request: LaunchRequest, fault: Fault, number: int) -> dict[str, Any]:
        offer = request.offer._replace(zone=request.offer.zone or "r1c")
        return made(request._replace(offer=offer), fault, number)

    one._new = chosen  # type: ignore[method-assign]
    found = world.fleet().gang(SMALL, "run-1", NODES)
    assert places(found) == {"one/r1/r1c/small/on-demand"}
    assert [key.split("/")[2] for key in one.launched] == ["", "r1c", "r1c", "r1c"]


def test_warm_ones_serve_again_when_there_are_enough(world: World) -> None:
    """A gang that was given back is had again as a whole; three warm ones are none for four."""
    one = cloud(world, "one", whole("one"))
    first = world.fleet().gang(SMALL, "run-1", NODES)
    known = {held.instance.id for held in first}
    for held in first:
        held.release(300.0)
    again = world.fleet().gang(SMALL, "run-2", NODES)
    assert {held.instance.id for held in again} == known
    assert all(held.warm for held in again)
    again[0].end()
    for held in again[1:]:
        held.release(300.0)
    third = world.fleet().gang(SMALL, "run-3", NODES)
    assert not known & {held.instance.id for held in third}
    three = world.fleet().gang(SMALL, "run-4", (0, 1, 2))
    assert {held.instance.id for held in three} == known - {again[0].instance.id}
    assert one.ever() == 8


def test_warm_instances_of_no_gang_are_not_taken(world: World) -> None:
    """Instances that were launched alone may not reach each other."""
    cloud(world, "one", whole("one"))
    fleet = world.fleet()
    alone = [fleet.acquire(SMALL, "run-1", node=node) for node in range(2)]
    for held in alone:
        held.release(300.0)
    found = world.fleet().gang(SMALL, "run-2", (0, 1))
    assert not any(held.warm for held in found)


def test_one_more_in_the_same_place(world: World) -> None:
    """What replaces a lost node is launched where the others are, or nowhere."""
    one = cloud(world, "one", whole("one"))
    fleet = world.fleet()
    found = fleet.gang(SMALL, "run-1", (0, 1))
    place = found[0].instance.offer.key()
    (more,) = fleet.gang(SMALL, "run-1", (2,), only=(place,))
    assert more.instance.offer.key() == place
    assert more.instance.tags[TOKEN_TAG] not in {h.instance.tags[TOKEN_TAG] for h in found}
    one.refuses = always(out())  # type: ignore[assignment]
    with pytest.raises((CapacityError, PlacementError)):
        fleet.gang(SMALL, "run-1", (3,), only=(place,))
    assert len(live(one)) == 3


def test_an_error_of_ours_is_not_taken_for_a_refusal(world: World) -> None:
    """What is no answer of a cloud ends the others and is raised as itself."""
    one = cloud(world, "one", whole("one"))
    fleet = world.fleet()
    count = itertools.count()

    def refuses(offer: Offer) -> ProviderError | None:
        if next(count) == 2:
            raise ZeroDivisionError
        return None

    one.refuses = refuses
    with pytest.raises(ZeroDivisionError):
        fleet.gang(SMALL, "run-1", NODES)
    fleet.settle()
    assert live(one) == set()


def test_more_than_may_live_at_once_is_refused_as_a_whole(world: World) -> None:
    """A gang beyond the cap on live instances is not begun, or ended again: none is left."""
    world.settings["max_instances"] = 3
    one = cloud(world, "one", whole("one"))
    fleet = world.fleet()
    with pytest.raises(Error):
        fleet.gang(SMALL, "run-1", NODES)
    fleet.settle()
    assert live(one) == set()
    assert len(world.fleet().gang(SMALL, "run-2", NODES[:3])) == 3
