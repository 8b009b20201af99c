"""Hedged launches: several asked for at once, one kept, the others ended whatever happens."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from byoc.errors import (
    CancelledError,
    CapacityError,
    HostKeyError,
    PlacementError,
    StateError,
    TokenError,
    TransientError,
)
from byoc.fleet.core import Fleet
from byoc.fleet.hedge import BEATEN, first_of, width
from byoc.placement.cost import billed, hedge, hedge_words
from byoc.placement.history import History
from byoc.providers.base import Instance, LaunchRequest, Traits
from byoc.resources import Resources, Rung, parse_gpus
from byoc.state import Attempt
from tests.fleet.world import Fault, World, offer
from tests.helpers import ROOT, until

SMALL = Resources(cpu=1, memory=512)
GPU = Resources(gpus=parse_gpus("L4"), cpu=1, memory=512)
NEVER = Fault(boot=None)


@pytest.fixture
def hedged(shared_world: World) -> World:
    """An account that sells in four zones, and a client that hedges with three."""
    world = shared_world
    world.settings = {"hedge": 3, "boot_timeout": 20.0}
    world.cloud.sold = [offer(price=1.0 + n, zone=zone) for n, zone in enumerate("abcd")]
    return world


def by_zone(world: World, faults: dict[str, Fault]) -> None:
    """What happens to a launch depends on its zone: threads come in any order."""
    launch = world.cloud.launch
    lock = threading.Lock()

    def launched(request: LaunchRequest) -> Instance:
        with lock:
            world.cloud.script = [faults.get(request.offer.zone, Fault())]
            return launch(request)

    world.cloud.launch = launched  # type: ignore[method-assign]


def outcomes(fleet: Fleet) -> dict[str, str]:
    """By zone, what became of the attempts."""
    return {one.offer.split("/")[2]: one.outcome for one in fleet.journal.attempts("run-1")}


def attempt_in(fleet: Fleet, zone: str) -> Attempt:
    return next(one for one in fleet.journal.attempts("run-1") if one.offer.split("/")[2] == zone)


def all_closed(world: World, fleet: Fleet, live: int) -> None:
    """Nothing lives but what is held, and no intent is left open."""
    fleet.settle()
    assert len(world.cloud.live()) == live
    assert not fleet.journal.intents()


def test_the_first_ready_is_kept_and_the_others_end(hedged: World) -> None:
    """Of three asked at once the one that answers is kept; each other one is ended at once."""
    by_zone(hedged, {"a": NEVER, "b": Fault(boot=0.3), "c": NEVER})  # all are asked by then
    fleet = hedged.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.zone == "b"
    assert held.connect().alive
    all_closed(hedged, fleet, live=1)
    assert outcomes(fleet) == {"a": BEATEN, "b": "ok", "c": BEATEN}
    assert hedged.cloud.ever() == 3


def test_why_each_was_ended_is_in_the_journal(hedged: World) -> None:
    """A beaten attempt names who was first, its instance and about what it has cost."""
    by_zone(hedged, {"a": NEVER, "b": Fault(boot=0.3), "c": NEVER})  # all are asked by then
    fleet = hedged.fleet()
    fleet.acquire(SMALL, "run-1")
    fleet.settle()
    beaten = attempt_in(fleet, "a")
    assert beaten.message.startswith("ended at once, after about ")
    assert beaten.message.endswith(": sim/region/b/small/on-demand was ready first")
    assert beaten.instance_id
    assert "asked beside others" in beaten.reason


def test_the_price_is_told_before_anything_is_launched(hedged: World) -> None:
    """What the hedge may cost is said first, once for the run."""
    told_at: list[int] = []
    notice = hedged.watcher.notice

    def noticed(message: str) -> None:
        told_at.append(hedged.cloud.ever())
        notice(message)

    hedged.watcher.notice = noticed  # type: ignore[method-assign]
    fleet = hedged.fleet()
    fleet.acquire(SMALL, "run-1")
    (price,) = [text for text in hedged.watcher.notices if "hedge" in text]
    assert "costs up to $" in price
    assert told_at[0] == 0
    fleet.settle()


def test_a_launch_that_is_answered_late_is_ended(hedged: World) -> None:
    """An answer that comes after another one has won ends what it made."""
    answer = threading.Event()
    launch = hedged.cloud.launch

    def slow(request: LaunchRequest) -> Instance:
        if request.offer.zone == "a":
            answer.wait(10)
        return launch(request)

    hedged.cloud.launch = slow  # type: ignore[method-assign]
    fleet = hedged.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.zone in ("b", "c")
    assert outcomes(fleet)["a"] == "open"
    assert any(one.offer.zone == "a" for one in fleet.journal.intents())  # on disk all the while
    answer.set()
    all_closed(hedged, fleet, live=1)
    assert outcomes(fleet)["a"] == BEATEN
    assert "sim/region/a/small/on-demand" in hedged.cloud.launched


def test_a_lost_answer_of_a_beaten_one_is_settled(hedged: World) -> None:
    """A launch that made an instance and whose answer was lost is found and ended at the end."""
    lost = TransientError("the answer was lost")
    by_zone(hedged, {"a": Fault(error=lost, made=True)})
    hedged.cloud.lag = 0.0
    fleet = hedged.fleet()
    fleet.acquire(SMALL, "run-1")
    all_closed(hedged, fleet, live=1)


def test_an_unsound_first_one_does_not_win(hedged: World) -> None:
    """The first to answer with broken GPUs is ended; the next sound one is kept."""
    hedged.cloud.sold = [
        offer(price=1.0 + n, zone=zone, gpu="L4", gpu_count=1) for n, zone in enumerate("ab")
    ]
    by_zone(hedged, {"a": Fault(report={"gpus": []}), "b": Fault(boot=0.3)})
    fleet = hedged.fleet()
    held = fleet.acquire(GPU, "run-1")
    assert held.instance.offer.zone == "b"
    all_closed(hedged, fleet, live=1)
    bad = attempt_in(fleet, "a")
    assert (bad.outcome, bad.error) == ("failed", "bad-host")
    assert "0 GPUs" in bad.message
    assert attempt_in(fleet, "b").message.startswith("1 x NVIDIA L4")


def test_a_refused_one_gives_its_place_to_the_next(hedged: World) -> None:
    """With one cloud or zone refusing, as many as were wished go on side by side."""
    refused = CapacityError("none left", scope="offer", remember=60)
    by_zone(hedged, {"a": Fault(error=refused), "b": NEVER, "c": NEVER})
    fleet = hedged.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.zone == "d"
    all_closed(hedged, fleet, live=1)
    assert outcomes(fleet) == {"a": "refused", "b": BEATEN, "c": BEATEN, "d": "ok"}


def test_more_than_there_are_rungs(hedged: World) -> None:
    """A hedge of eight on four offers tries four; once one is ready, none is asked for any more."""
    hedged.settings["hedge"] = 8
    fleet = hedged.fleet()
    fleet.acquire(SMALL, "run-1")
    all_closed(hedged, fleet, live=1)
    assert sorted(outcomes(fleet)) == ["a", "b", "c", "d"]
    assert hedged.cloud.ever() <= 4


def test_one_offer_is_no_hedge(hedged: World) -> None:
    """With one rung nothing is asked beside it and nothing is said of a price."""
    hedged.cloud.sold = hedged.cloud.sold[:1]
    fleet = hedged.fleet()
    fleet.acquire(SMALL, "run-1")
    assert hedged.cloud.ever() == 1
    assert not hedged.watcher.notices


def test_only_the_first_instance_of_a_run_is_hedged(hedged: World) -> None:
    """Instances that join a run later are asked for one by one."""
    fleet = hedged.fleet()
    fleet.acquire(SMALL, "run-1", node=1)
    assert hedged.cloud.ever() == 1


def test_all_refused_tells_each_answer(hedged: World) -> None:
    """When none works the error is that of a climb, and nothing is left."""
    refused = CapacityError("none left", scope="offer", remember=60)
    by_zone(hedged, dict.fromkeys("abcd", Fault(error=refused)))
    fleet = hedged.fleet()
    with pytest.raises(PlacementError, match="none of the 4 offers"):
        fleet.acquire(SMALL, "run-1")
    all_closed(hedged, fleet, live=0)


def test_cancel_ends_all(hedged: World) -> None:
    """The caller gives up while three boot: all three are ended."""
    by_zone(hedged, dict.fromkeys("abcd", NEVER))
    given_up = threading.Event()
    fleet = hedged.fleet()
    watch = threading.Thread(
        target=lambda: (until(lambda: hedged.cloud.ever() == 3, 10), given_up.set())
    )
    watch.start()
    with pytest.raises(CancelledError):
        fleet.acquire(SMALL, "run-1", stop=given_up.is_set)
    watch.join()
    all_closed(hedged, fleet, live=0)
    assert "open" not in outcomes(fleet).values()


def test_interrupt_ends_all(hedged: World) -> None:
    """Ctrl-C in the thread that waits leaves nothing behind once the fleet is closed."""
    by_zone(hedged, dict.fromkeys("abcd", NEVER))
    fleet = hedged.fleet()

    def stop() -> bool:
        if threading.current_thread() is threading.main_thread() and hedged.cloud.ever() == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        fleet.acquire(SMALL, "run-1", stop=stop)
    all_closed(hedged, fleet, live=0)


def test_a_strange_machine_stops_all(hedged: World) -> None:
    """Another machine in the place of one of ours: nobody is trusted and all are ended."""
    by_zone(hedged, {"a": Fault(wrong_key=True), "b": NEVER, "c": NEVER})
    fleet = hedged.fleet()
    with pytest.raises(HostKeyError):
        fleet.acquire(SMALL, "run-1")
    all_closed(hedged, fleet, live=0)


def test_a_journal_that_fails_ends_all(hedged: World) -> None:
    """What is no rung's failure stops the hedge, and the others are ended."""
    by_zone(hedged, {"b": NEVER, "c": NEVER})
    fleet = hedged.fleet()
    broken: list[str] = []

    def failing(run: str, name: str) -> None:
        broken.append(name)
        raise StateError("disk full")

    fleet.journal.add_run_instance = failing  # type: ignore[method-assign]
    with pytest.raises(StateError):
        fleet.acquire(SMALL, "run-1")
    assert broken
    all_closed(hedged, fleet, live=0)


def test_a_limit_of_instances_narrows_the_hedge(hedged: World) -> None:
    """Where max_instances allows two of three, two are asked and the user is served."""
    hedged.settings["max_instances"] = 2
    by_zone(hedged, dict.fromkeys("abcd", Fault(boot=0.3)))
    fleet = hedged.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.connect().alive
    all_closed(hedged, fleet, live=1)
    assert hedged.cloud.ever() == 2


def test_two_ready_at_once_leave_one(hedged: World) -> None:
    """Whoever is second is ended, however close it was; ten times over."""
    for number in range(10):
        fleet = hedged.fleet()
        held = fleet.acquire(SMALL, f"run-{number}", keep=False)
        fleet.settle()
        assert [one.id for one in hedged.cloud.live()] == [held.instance.id]
        held.end()


def test_a_taken_token_is_tried_once_more(hedged: World) -> None:
    """The rung whose token stands for something else gets a second attempt, as in a plain climb."""
    launch, first = hedged.cloud.launch, threading.Event()

    def launched(request: LaunchRequest) -> Instance:
        if request.offer.zone == "a" and not first.is_set():
            first.set()
            raise TokenError("the token was used")
        if request.offer.zone != "a":
            raise CapacityError("none", scope="offer", remember=60)
        return launch(request)

    hedged.cloud.launch = launched  # type: ignore[method-assign]
    fleet = hedged.fleet()
    assert fleet.acquire(SMALL, "run-1").instance.offer.zone == "a"
    assert [one.error for one in fleet.journal.attempts("run-1")].count("token") == 1


DIES = """
import sys
from pathlib import Path
from byoc.clock import SYSTEM
from byoc.fleet.core import Fleet
from byoc.settings import Settings
from byoc.state import Journal
from tests.fleet.test_hedge import NEVER, SMALL
from tests.fleet.world import CloudDialer, FileCloud, Watcher, offer

home, folder = map(Path, sys.argv[1:])
cloud = FileCloud(folder, SYSTEM)
cloud.sold = [offer(price=1.0 + n, zone=zone) for n, zone in enumerate("abcd")]
cloud.script = [NEVER] * 9
settings, dialer = Settings(home=home, clouds=("sim",), hedge=3), CloudDialer([cloud], SYSTEM)
journal = Journal.open(home, SYSTEM)
Fleet(settings, journal, {"sim": cloud}, dialer, Watcher(), SYSTEM).acquire(SMALL, "run-dead")
"""


def test_a_client_that_is_killed_leaves_nothing_unknown(hedged: World) -> None:
    """SIGKILL while three boot: each is in the journal, and the next client ends all of them."""
    words = [sys.executable, "-c", DIES, str(hedged.home), str(hedged.cloud.folder)]
    client = subprocess.Popen(words, cwd=ROOT)
    try:
        until(lambda: hedged.cloud.ever() == 3, 20)
    finally:
        client.kill()
        client.wait(10)
    assert len(hedged.cloud.live()) == 3
    fleet = hedged.fleet()
    assert len(fleet.down()) == 3
    all_closed(hedged, fleet, live=0)


# --- pure ----------------------------------------------------------------------------------------


class _Here:
    traits = Traits(("shutdown",), shared_host=True)


class _Cloud:
    traits = Traits(("shutdown",))


def rungs(*offers: Any) -> list[Rung]:
    return [Rung(one, "because") for one in offers]


def test_first_ones_are_of_different_places() -> None:
    """Both markets of one type and zone share one fate: the hedge spreads, where it can."""
    spot, plain, other = offer(market="spot"), offer(), offer(zone="b")
    found = first_of(rungs(spot, plain, other), 2)
    assert [one.offer for one in found] == [spot, other]
    assert len(first_of(rungs(spot, plain), 2)) == 2


def test_this_computer_is_never_hedged() -> None:
    """With this computer as the best rung there is nothing to ask beside it."""
    providers: Any = {"local": _Here(), "sim": _Cloud()}
    here = offer(cloud="local")
    assert width(rungs(here, offer(), offer(zone="b")), 3, providers) == 1
    assert width(rungs(offer(), here), 3, providers) == 1
    assert width(rungs(offer(), offer(zone="b"), here), 3, providers) == 2
    assert width([], 3, providers) == 1


def test_price_of_a_hedge_is_its_losers() -> None:
    """The sum of the smallest bills or boots of all but the one that is cheapest to lose."""
    vm = offer(price=3.6)._replace(minimum=60.0)
    metal = offer(price=36.0, type="BM.GPU.H100.8")._replace(minimum=3600.0)
    history = History(boots={("sim", "small"): 100.0, ("sim", "BM.GPU.H100.8"): 600.0})
    found = hedge([vm, vm._replace(zone="b"), metal], history)
    assert found.extra == pytest.approx(36.0 + 0.1)
    assert found.dearest == 36.0
    text = hedge_words(found)
    assert "up to $36.10 more" in text
    assert "BM.GPU.H100.8/on-demand bills 60 min at least" in text


def test_a_missing_price_is_said() -> None:
    """Where one price is not known the extra is not known, and no figure is made up."""
    found = hedge([offer(), offer(price=None, zone="b")], History())
    assert found.extra is None
    assert "not known" in hedge_words(found)
    assert billed(offer(price=None), 10) is None
