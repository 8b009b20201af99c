"""Getting an instance: the ladder climbed, refusals, lost replies, slow and dead boots."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.errors import (
    AccessError,
    BadRequestError,
    BootError,
    CancelledError,
    CapacityError,
    HostKeyError,
    PlacementError,
    QuotaError,
    StateError,
    ThrottleError,
    TransientError,
    UnclassifiedError,
)
from byoc.fleet.policy import LAUNCH_TRIES
from byoc.providers.base import OWNER_TAG, RUN_TAG, TOKEN_TAG
from byoc.resources import Resources, parse_gpus
from byoc.state import Journal
from tests.fleet.world import Fault, FileCloud, World, offer

SMALL = Resources(cpu=1, memory=512)


def capacity(**more: str) -> CapacityError:
    return CapacityError(
        "no capacity", vendor_code="InsufficientInstanceCapacity", request_id="req-1", **more
    )


def test_cold_acquire_gives_a_reachable_instance(world: World) -> None:
    """The first acquire launches one instance and returns it with a live connection."""
    held = world.fleet().acquire(SMALL, "run-1")
    assert not held.warm
    assert held.instance.state == "running"
    assert held.connect().alive
    assert world.cloud.ever() == 1


def test_first_connect_is_the_one_acquire_made(world: World) -> None:
    """The connection that proved the host key is handed out, not made twice."""
    held = world.fleet().acquire(SMALL, "run-1")
    assert len(world.dialer.connected) == 1
    first = held.connect()
    assert len(world.dialer.connected) == 1
    first.close()
    assert held.connect() is not first
    assert len(world.dialer.connected) == 2


def test_tags_are_in_the_create_call(world: World) -> None:
    """Owner, run, token, expiry and price travel with the launch itself."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    tags = held.instance.tags
    assert tags[OWNER_TAG] == fleet.journal.owner
    assert tags[RUN_TAG] == "run-1"
    assert fleet.journal.intent(tags[TOKEN_TAG]) is not None
    assert int(tags["byoc-expires"]) > world.clock.wall()
    assert float(tags["byoc-price"]) == 1.0


def test_journal_knows_what_was_launched(world: World) -> None:
    """After an acquire the row, the closed intent and the attempt stand in the journal."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    row = fleet.journal.instance("sim", held.instance.id)
    assert row is not None
    assert (row.state, row.run, row.price) == ("running", "run-1", 1.0)
    assert row.host_key == held.host_key
    assert row.reached > 0
    assert not fleet.journal.intents()
    (attempt,) = fleet.journal.attempts("run-1")
    assert (attempt.outcome, attempt.instance_id) == ("ok", held.instance.id)


def test_stages_are_reported_in_order(world: World) -> None:
    """Place, boot and connect are told as they happen."""
    world.cloud.script = [Fault(boot=5)]
    world.fleet().acquire(SMALL, "run-1")
    told = [(name, status) for name, status, _ in world.watcher.stages]
    assert told == [
        ("place", "start"),
        ("place", "done"),
        ("boot", "start"),
        ("boot", "wait"),
        ("boot", "done"),
        ("connect", "start"),
    ]


def test_capacity_refusal_goes_to_the_next_rung(world: World) -> None:
    """Out of capacity: the next cheapest offer is taken and the refusal is kept for `why`."""
    world.cloud.sold = [offer(price=1.0, zone="a"), offer(price=2.0, zone="b")]
    world.cloud.script = [Fault(error=capacity(scope="type@zone"))]
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.zone == "b"
    refused, taken = fleet.journal.attempts("run-1")
    assert refused.outcome == "refused"
    assert (refused.error, refused.code) == ("capacity", "InsufficientInstanceCapacity")
    assert (refused.request_id, refused.scope) == ("req-1", "type@zone")
    assert taken.outcome == "ok"
    assert not fleet.journal.intents()


@pytest.mark.parametrize("error", [QuotaError("over quota"), UnclassifiedError("what?")])
def test_other_refusals_fail_over_too(world: World, error: QuotaError) -> None:
    """Quota and unknown codes do not stop the climb."""
    world.cloud.sold = [offer(), offer(type="other", price=2.0)]
    world.cloud.script = [Fault(error=error)]
    assert world.fleet().acquire(SMALL, "run-1").instance.offer.type == "other"


def test_bad_request_stops_the_climb(world: World) -> None:
    """Our own wrong request is raised at once; no other rung is asked."""
    world.cloud.sold = [offer(zone="a"), offer(price=2.0, zone="b")]
    world.cloud.script = [Fault(error=BadRequestError("bad image"))]
    with pytest.raises(BadRequestError):
        world.fleet().acquire(SMALL, "run-1")
    assert world.cloud.calls.count("launch") == 1
    assert world.cloud.ever() == 0


def test_denied_access_leaves_out_that_cloud_only(world: World) -> None:
    """After AccessError the rungs of that cloud are skipped and another cloud serves."""
    other = FileCloud(world.home.parent / "other", world.clock, "other")
    other.sold = [offer(cloud="other", price=9.0)]
    world.clouds.append(other)
    world.cloud.sold = [offer(zone="a"), offer(price=2.0, zone="b")]
    world.cloud.script = [Fault(error=AccessError("denied"))]
    held = world.fleet().acquire(SMALL, "run-1")
    assert held.instance.provider == "other"
    assert world.cloud.calls.count("launch") == 1


def test_one_rung_fails_as_itself(world: World) -> None:
    """With a single offer the provider's own error is what the user sees."""
    world.cloud.script = [Fault(error=capacity())]
    with pytest.raises(CapacityError) as caught:
        world.fleet().acquire(SMALL, "run-1")
    assert caught.value.request_id == "req-1"


def test_exhausted_ladder_tells_every_answer(world: World) -> None:
    """When no rung works the error lists each with its reason and points to `byoc why`."""
    world.cloud.sold = [offer(zone="a"), offer(price=2.0, zone="b")]
    world.cloud.script = [Fault(error=capacity()), Fault(error=QuotaError("over quota"))]
    with pytest.raises(PlacementError) as caught:
        world.fleet().acquire(SMALL, "run-1")
    assert "no capacity" in caught.value.message
    assert "over quota" in caught.value.message
    assert "byoc why run-1" in caught.value.hints[0]


@pytest.mark.parametrize("error", [TransientError("timeout"), ThrottleError("slow down")])
def test_lost_reply_asks_again_with_the_same_token(world: World, error: TransientError) -> None:
    """The instance whose launch answer was lost is found by its token: there is no second one."""
    world.cloud.script = [Fault(error=error, made=True)]
    held = world.fleet().acquire(SMALL, "run-1")
    assert world.cloud.ever() == 1
    assert held.connect().alive


def test_lost_replies_are_looked_up_by_tag(world: World) -> None:
    """When every answer is lost, the instance is found in the list."""
    world.cloud.script = [Fault(error=TransientError("timeout"), made=True)] * LAUNCH_TRIES
    held = world.fleet().acquire(SMALL, "run-1")
    assert world.cloud.calls.count("launch") == LAUNCH_TRIES
    assert [one.id for one in world.cloud.live()] == [held.instance.id]


def test_unknown_outcome_keeps_the_intent_open(world: World) -> None:
    """A launch that was never answered and cannot be seen stays open for the sweep."""
    world.cloud.script = [Fault(error=TransientError("timeout"))] * LAUNCH_TRIES
    fleet = world.fleet()
    with pytest.raises(TransientError):
        fleet.acquire(SMALL, "run-1")
    (intent,) = fleet.journal.intents()
    assert intent.state == "open"
    (attempt,) = fleet.journal.attempts("run-1")
    assert attempt.outcome == "unknown"


def test_slow_boot_is_waited_for(world: World) -> None:
    """An instance that answers after minutes is used."""
    world.cloud.script = [Fault(boot=120)]
    begun = world.clock.mono()
    held = world.fleet().acquire(SMALL, "run-1")
    assert held.connect().alive
    assert 120 <= world.clock.mono() - begun < 125


def test_never_reachable_is_ended_before_the_next_rung(world: World) -> None:
    """A rung that boots but never answers is terminated, then the next one is tried."""
    world.cloud.sold = [offer(zone="a"), offer(price=2.0, zone="b")]
    world.cloud.script = [Fault(boot=None)]
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.zone == "b"
    assert [one.id for one in world.cloud.live()] == [held.instance.id]
    calls = world.cloud.calls
    assert calls.index("terminate") < len(calls) - 1 - calls[::-1].index("launch")
    first = fleet.journal.attempts("run-1")[0]
    assert (first.outcome, first.error) == ("failed", "boot")
    assert not fleet.journal.intents()


def test_death_while_booting_says_why(world: World) -> None:
    """An instance that ends while booting is reported with its provider's reason."""
    world.cloud.script = [Fault(boot=60, dies="out of memory")]
    with pytest.raises(BootError, match="out of memory"):
        world.fleet().acquire(SMALL, "run-1")


def test_wrong_host_key_is_fatal_and_ends_the_instance(world: World) -> None:
    """Another machine in our instance's place: raised, nothing climbed, ours is ended."""
    world.cloud.sold = [offer(zone="a"), offer(price=2.0, zone="b")]
    world.cloud.script = [Fault(wrong_key=True)]
    with pytest.raises(HostKeyError):
        world.fleet().acquire(SMALL, "run-1")
    assert not world.cloud.live()
    assert world.cloud.ever() == 1


def test_stopping_while_booting_leaves_nothing(world: World) -> None:
    """A cancelled acquire ends what it had begun."""
    world.cloud.script = [Fault(boot=100)]
    limit = world.clock.mono() + 10
    with pytest.raises(CancelledError):
        world.fleet().acquire(SMALL, "run-1", stop=lambda: world.clock.mono() > limit)
    assert not world.cloud.live()


def test_interrupt_while_booting_leaves_nothing(world: World) -> None:
    """Ctrl-C in the middle of a boot ends the instance and closes its intent."""
    world.cloud.script = [Fault(boot=100)]

    def interrupt() -> bool:
        if world.cloud.launched:
            raise KeyboardInterrupt
        return False

    fleet = world.fleet()
    with pytest.raises(KeyboardInterrupt):
        fleet.acquire(SMALL, "run-1", stop=interrupt)
    assert not world.cloud.live()
    assert not fleet.journal.intents()
    assert fleet.journal.attempts("run-1")[0].outcome == "failed"


def test_instance_that_is_not_shown_yet_is_waited_for(world: World) -> None:
    """A cloud whose reads lag half a minute behind the launch has not lost the instance."""
    world.cloud.lag = 30
    world.cloud.script = [Fault(boot=60)]
    held = world.fleet().acquire(SMALL, "run-1")
    assert held.connect().alive
    assert world.cloud.ever() == 1


def test_stopping_while_the_instance_is_not_shown_yet_ends_it(world: World) -> None:
    """What cannot be ended yet is asked to end again, until the cloud knows it."""
    world.cloud.lag = 8
    world.cloud.script = [Fault(boot=100)]
    fleet = world.fleet()
    with pytest.raises(CancelledError):
        fleet.acquire(SMALL, "run-1", stop=lambda: bool(world.cloud.launched))
    assert not world.cloud.live()
    assert not fleet.journal.instances()


def test_warm_instance_is_taken_first(world: World) -> None:
    """A released instance that fits is used again, without a launch."""
    fleet = world.fleet()
    first = fleet.acquire(SMALL, "run-1")
    first.release(60)
    again = fleet.acquire(SMALL, "run-2")
    assert again.warm
    assert again.instance.id == first.instance.id
    assert world.cloud.ever() == 1
    row = fleet.journal.instance("sim", again.instance.id)
    assert row is not None
    assert (row.run, row.state) == ("run-2", "running")
    assert [a.outcome for a in fleet.journal.attempts("run-2")] == ["warm"]


def test_warm_acquire_asks_the_provider_once(world: World) -> None:
    """The hot path is one list call and one connection."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").release(60)
    world.cloud.calls.clear()
    connections = len(world.dialer.connected)
    fleet.acquire(SMALL, "run-2")
    assert [call for call in world.cloud.calls if call != "get"] == ["list"]
    assert len(world.dialer.connected) == connections + 1


def test_warm_instance_that_is_too_small_is_left(world: World) -> None:
    """A warm instance must hold the request."""
    world.cloud.sold = [offer(cpus=2), offer(type="big", cpus=32, price=5.0)]
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").release(60)
    held = fleet.acquire(Resources(cpu=16), "run-2")
    assert not held.warm
    assert held.instance.offer.type == "big"


def test_paid_gpu_is_not_kept_alive_for_cpu_work(world: World) -> None:
    """Work without a GPU does not extend the life of a dear GPU instance."""
    world.cloud.sold = [offer(), offer(type="gpu", gpu="H100", gpu_count=8, price=98.0)]
    fleet = world.fleet()
    fleet.acquire(Resources(gpus=parse_gpus("H100:8")), "run-1").release(60)
    held = fleet.acquire(SMALL, "run-2")
    assert not held.warm
    assert held.instance.offer.gpu == ""


def test_dead_warm_instance_is_passed_over(world: World) -> None:
    """A warm instance that does not answer costs one try; a new one is launched."""
    fleet = world.fleet()
    first = fleet.acquire(SMALL, "run-1")
    first.release(60)
    world.dialer.cut.add(first.instance.id)
    second = fleet.acquire(SMALL, "run-2")
    assert second.instance.id != first.instance.id
    assert [a.outcome for a in fleet.journal.attempts("run-2")] == ["failed", "ok"]
    assert any("passed over" in text for text in world.watcher.notices)


def test_warm_instance_with_another_key_is_an_alarm(world: World) -> None:
    """When another machine answers for a warm instance, nothing goes on silently."""
    fleet = world.fleet()
    first = fleet.acquire(SMALL, "run-1")
    first.release(60)
    fleet.journal.update_instance("sim", first.instance.id, host_key="ssh-ed25519 AAAAolder")
    with pytest.raises(HostKeyError):
        fleet.acquire(SMALL, "run-2")


def test_cheapest_warm_instance_is_preferred(world: World) -> None:
    """Among warm instances that fit, the ladder's own order decides."""
    world.cloud.sold = [offer(type="small"), offer(type="big", cpus=32, price=5.0)]
    fleet = world.fleet()
    big = fleet.acquire(Resources(cpu=16), "run-1")
    small = fleet.acquire(SMALL, "run-1")
    big.release(60)
    small.release(60)
    assert fleet.acquire(SMALL, "run-2").instance.id == small.instance.id


def test_two_nodes_of_a_run_are_two_instances(world: World) -> None:
    """While one instance is held, the same run gets another."""
    fleet = world.fleet()
    held = [fleet.acquire(SMALL, "run-1", node=node) for node in range(3)]
    assert len({one.instance.id for one in held}) == 3
    assert len({one.instance.tags[TOKEN_TAG] for one in held}) == 3


def test_unknown_cloud_is_refused_by_name(world: World) -> None:
    """A cloud this version lacks is named, with the ones it has."""
    with pytest.raises(PlacementError, match="no cloud 'moon'") as caught:
        world.fleet().acquire(Resources(clouds=("moon",)), "run-1")
    assert "sim" in caught.value.hints[0]


def test_failing_provider_is_told_and_left_out(world: World) -> None:
    """With two clouds, one that cannot be asked does not stop the other."""
    other = FileCloud(world.home.parent / "other", world.clock, "other")
    other.down = AccessError("expired credentials")
    world.clouds.append(other)
    held = world.fleet().acquire(SMALL, "run-1")
    assert held.instance.provider == "sim"
    assert any("expired credentials" in text for text in world.watcher.notices)


def test_only_provider_failing_is_raised(world: World) -> None:
    """With one cloud, its refusal is the answer."""
    world.cloud.down = AccessError("expired credentials")
    with pytest.raises(AccessError):
        world.fleet().acquire(SMALL, "run-1")


def test_plan_launches_nothing(world: World) -> None:
    """A dry run shows the ladder and asks for offers only."""
    ladder = world.fleet().plan(SMALL)
    assert [rung.offer.key() for rung in ladder.rungs] == ["sim/region/a/small/on-demand"]
    assert world.cloud.calls == ["offers"]


def test_instance_about_to_end_is_not_taken(world: World) -> None:
    """An idle instance whose time is up is not attached to in its last second."""
    fleet = world.fleet()
    first = fleet.acquire(SMALL, "run-1")
    first.release(60)
    world.clock.sleep(59.5)
    assert fleet.acquire(SMALL, "run-2").instance.id != first.instance.id


class FullDisk:
    """A journal whose disk is full from the moment a launch was answered: no row of an instance can
    be written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def change(self, work: Any, *, durable: bool = False) -> None:
        def checked() -> Any:
            intents, rows = work()
            if rows:
                raise StateError("the journal cannot be used: database or disk is full")
            return intents, rows

        self._journal.change(checked, durable=durable)


def test_full_disk_after_a_launch_does_not_leave_the_instance(world: World) -> None:
    """When the journal fails between launch and use, the instance is ended all the same."""
    world.wrap_journal = FullDisk
    with pytest.raises(StateError):
        world.fleet().acquire(SMALL, "run-1")
    assert world.cloud.ever() == 1
    assert not world.cloud.live()


class Interrupted:
    """A journal in whose first write of an instance somebody presses Ctrl-C."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pressed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def change(self, work: Any, *, durable: bool = False) -> None:
        def checked() -> Any:
            intents, rows = work()
            if rows and not self._pressed:
                self._pressed = True
                raise KeyboardInterrupt
            return intents, rows

        self._journal.change(checked, durable=durable)


def test_interrupt_behind_the_answer_ends_the_instance(world: World) -> None:
    """Ctrl-C between the cloud's answer and its note: the instance is known and is ended."""
    world.wrap_journal = Interrupted
    fleet = world.fleet()
    with pytest.raises(KeyboardInterrupt):
        fleet.acquire(SMALL, "run-1")
    assert world.cloud.ever() == 1
    assert not world.cloud.live()
    assert not fleet.journal.intents()


def test_interrupt_within_the_answer_is_settled_at_the_end(world: World) -> None:
    """Ctrl-C while the cloud answers: what came of it is looked for and ended before the exit."""
    really = world.cloud.launch

    def interrupted(request: Any) -> Any:
        really(request)
        raise KeyboardInterrupt

    world.cloud.launch = interrupted  # type: ignore[method-assign]
    fleet = world.fleet()
    with pytest.raises(KeyboardInterrupt):
        fleet.acquire(SMALL, "run-1")
    assert len(world.cloud.live()) == 1
    fleet.settle()
    assert not world.cloud.live()
    assert not fleet.journal.intents()


def test_who_gives_up_while_a_launch_waits_asks_for_nothing_more(world: World) -> None:
    """Told to stop in the pause after "too often": no further launch, and nothing is left open."""
    world.cloud.script = [Fault(error=ThrottleError("too often"))]
    fleet = world.fleet()
    stopped = world.clock.at + 0.001  # type: ignore[attr-defined]
    with pytest.raises(CancelledError):
        fleet.acquire(SMALL, "run-1", stop=lambda: world.clock.wall() > stopped)
    assert world.cloud.calls.count("launch") == 1
    assert not world.cloud.ever()
    assert not fleet.journal.intents()
