"""The world that all emulated clouds share; its machines only greet here."""

from __future__ import annotations

import json
import socket

import pytest

from byoc.emulator import report
from byoc.emulator.ports import Fault
from tests.emulator.conftest import MakeWorld
from tests.emulator.machines import boot, greets, wait_up
from tests.helpers import until

SPOT = {"zone": "us-east-1a", "type": "g6.xlarge", "market": "spot"}


def test_faults_apply_in_order_and_are_used_up(make_world: MakeWorld) -> None:
    """The first rule that fits is taken, so often as it says; the next one then."""
    world = make_world(
        """
        [[fault]]
        cloud = "aws"
        op = "RunInstances"
        match = { zone = "us-east-1*", market = "spot" }
        error = "InsufficientInstanceCapacity"
        times = 2
        [[fault]]
        error = "RequestLimitExceeded"
        message = "slow down"
        status = 503
        times = -1
        """,
        "banner",
    )
    first = [world.judge("aws", "RunInstances", SPOT) for _ in range(3)]
    slow = Fault("RequestLimitExceeded", "slow down", 503)
    assert first == [Fault("InsufficientInstanceCapacity")] * 2 + [slow]
    assert world.judge("gcp", "compute.zones.list", {}) == slow
    refused = world.log.refused()
    assert [call.refused for call in refused[:2]] == ["InsufficientInstanceCapacity"] * 2
    assert {call.by for call in refused} == {"scenario"}
    assert world.log.counts() == {"aws": {"RunInstances": 3}, "gcp": {"compute.zones.list": 1}}


@pytest.mark.parametrize(
    ("pattern", "op"),
    [
        ("RunInstances", "RunInstances"),
        ("Describe*", "DescribeImages"),
        ("instances.insert", "compute.instances.insert"),
        ("compute.instances.insert", "compute.instances.insert"),
        ("launch_instance", "LaunchInstance"),
        ("LaunchInstance", "launch_instance"),
    ],
)
def test_an_operation_is_known_by_each_of_its_names(
    make_world: MakeWorld, pattern: str, op: str
) -> None:
    """However SDK and documents spell it."""
    world = make_world(f"[[fault]]\nop = '{pattern}'\nerror = 'E'", "banner")
    assert world.judge("aws", op, {}) == Fault("E")


@pytest.mark.parametrize("times", [1, 3, -1])
def test_a_fault_for_another_operation_does_not_apply(make_world: MakeWorld, times: int) -> None:
    """A name is not a part of a longer one; the rule counts as unused, also one for ever."""
    rule = f"[[fault]]\nop = 'RunInstances'\nerror = 'E'\ntimes = {times}"
    world = make_world(rule, "banner")
    assert world.judge("aws", "DryRunInstances", {}) is None
    assert [rule.error for rule in world.unused()] == ["E"]
    assert world.judge("aws", "RunInstances", {}) == Fault("E") and world.unused() == []


def test_a_delay_alone_only_slows_down(make_world: MakeWorld) -> None:
    """The request waits and then succeeds."""
    world = make_world("[[fault]]\ndelay = 0.2", "banner")
    start = world.now()
    assert world.judge("aws", "RunInstances", {}) is None
    assert world.now() - start >= 0.2


def test_capacity_is_taken_and_given_back(make_world: MakeWorld) -> None:
    """So many instances and no more, until one is gone; other markets are not counted."""
    world = make_world("[[capacity]]\ncloud='aws'\nmarket='spot'\ncount = 1", "banner")
    words = ("us-east-1a", "t3.medium")
    assert world.spare("aws", *words, "spot") == 1
    assert world.room("aws", *words, "spot") and not world.room("aws", *words, "spot")
    assert world.room("aws", *words, "on-demand")
    assert world.spare("aws", *words, "on-demand") is None
    boot(world)
    world.gone("aws", "i-1")
    world.gone("aws", "i-1")
    assert world.spare("aws", *words, "spot") == 1
    assert world.room("aws", *words, "spot") and not world.room("aws", *words, "spot")


def test_an_instance_that_was_refused_frees_no_capacity(make_world: MakeWorld) -> None:
    """A cloud that makes the instance first and looks for capacity then takes nothing."""
    world = make_world("[[capacity]]\ncount = 1", "banner")
    assert world.room("aws", "us-east-1a", "t3.medium", "spot")
    boot(world, id="i-1")
    boot(world, id="i-2")
    assert not world.room("aws", "us-east-1a", "t3.medium", "spot")
    world.gone("aws", "i-2")
    assert not world.room("aws", "us-east-1a", "t3.medium", "spot")


def test_a_quota_is_the_scenarios_or_the_usual_one(make_world: MakeWorld) -> None:
    """Patterns choose region and bucket."""
    world = make_world("[[quota]]\ncloud='aws'\nregion='us-*'\nbucket='L-*'\nlimit = 4", "banner")
    assert world.quota("aws", "us-east-1", "L-1", 96) == 4
    assert world.quota("aws", "eu-west-1", "L-1", 96) == 96
    assert world.quota("gcp", "us-east-1", "L-1", 96) == 96


def test_reads_lag_behind(make_world: MakeWorld) -> None:
    """A new instance is hidden for a time, and its address is told later still."""
    world = make_world("[boot]\naddress_delay = 0.4\n[list]\nlag = 0.2", "banner")
    booted = boot(world)
    assert world.hidden("aws", "i-1") and not world.address_known("aws", "i-1")
    until(lambda: not world.hidden("aws", "i-1"))
    until(lambda: "up" in booted.heard)
    assert not world.address_known("aws", "i-1")
    until(lambda: world.address_known("aws", "i-1"))


def test_seconds_and_dollars_are_the_catalogues(make_world: MakeWorld) -> None:
    """Billed from when the cloud bills, by the price of the type, with the least that it bills."""
    world = make_world("", "banner")
    booted = boot(world)
    until(lambda: "up" in booted.heard)
    until(lambda: world.now() > 0.2)
    world.gone("aws", "i-1")
    [entry] = world.ledger.all()
    assert 0 < entry.seconds(world.now()) < world.now()
    dollars = entry.dollars(world.now())
    assert entry.price and dollars == pytest.approx(
        entry.price * max(entry.seconds(0), entry.minimum) / 3600
    )


def test_an_event_happens_at_its_time_to_the_oldest(make_world: MakeWorld) -> None:
    """``at`` takes one instance that runs; its peers are met with silence, its cloud is told."""
    world = make_world("[[event]]\nat = 0.3\naction = 'kill'", "banner")
    first, second = boot(world, id="i-1"), boot(world, id="i-2")
    wait_up(first, second)
    until(lambda: first.heard == ["up", "crash"])
    assert not greets(first.address) and greets(second.address)
    assert [(done.id, done.action) for done in world.happenings.done()] == [("i-1", "kill")]


def test_an_event_that_comes_too_early_takes_the_next_instance(make_world: MakeWorld) -> None:
    """A scenario does not depend on how quick the program is."""
    world = make_world("[[event]]\nat = 0\naction = 'kill'", "banner")
    until(lambda: world.now() > 0.1)
    booted = boot(world)
    until(lambda: booted.heard == ["up", "crash"])
    again = boot(world, id="i-2")
    wait_up(again)
    assert again.heard == ["up"]


def test_an_event_follows_a_moment_of_its_instance_once(make_world: MakeWorld) -> None:
    """``after`` takes the instance whose moment it was; the replacement is left alone."""
    world = make_world("[[event]]\nafter = 'connected'\naction = 'kill'\ndelay = 0.05", "banner")
    first, second = boot(world, id="i-1"), boot(world, id="i-2")
    wait_up(second)
    until(lambda: second.heard == ["up", "crash"])
    wait_up(first)
    assert first.heard == ["up"] and world.happenings.missed() == []


def test_an_event_may_choose(make_world: MakeWorld) -> None:
    """``match`` and ``cloud`` say which instances an event is for; one for none is reported."""
    world = make_world(
        """
        [[event]]
        after = "running"
        action = "kill"
        match = { zone = "eu-*" }
        [[event]]
        cloud = "gcp"
        at = 0
        action = "kill"
        """,
        "banner",
    )
    booted = boot(world)
    wait_up(booted)
    assert booted.heard == ["up"] and len(world.happenings.missed()) == 2


def test_a_cut_heals(make_world: MakeWorld) -> None:
    """While it lasts nobody can connect; who was trying gets through when it is over."""
    world = make_world("[[event]]\nafter = 'running'\naction = 'cut'\nfor = 0.5", "banner")
    booted = boot(world)
    until(world.happenings.done)
    with pytest.raises(TimeoutError):
        socket.create_connection((booted.address, 22), 0.2)
    with socket.create_connection((booted.address, 22), 10) as plain:
        assert plain.recv(4) == b"SSH-"


def test_some_instances_never_answer(make_world: MakeWorld) -> None:
    """They run, and are billed, and their address is silent; the console says what is wrong."""
    world = make_world("[boot]\nnever = true\nconsole = 'Kernel panic - not syncing'", "banner")
    booted = boot(world)
    until(lambda: booted.heard == ["up"])
    with pytest.raises(TimeoutError):
        socket.create_connection((booted.address, 22), 0.3)
    assert "Kernel panic" in booted.said()


def test_a_fault_may_be_of_one_instances_boot(make_world: MakeWorld) -> None:
    """``no-boot`` and ``slow-boot`` choose instances as other faults choose requests."""
    world = make_world(
        """
        [[fault]]
        op = "RunInstances"
        match = { zone = "us-east-1*" }
        error = "no-boot"
        message = "Kernel panic"
        [[fault]]
        error = "slow-boot"
        delay = 0.3
        """,
        "banner",
    )
    assert world.judge("aws", "RunInstances", SPOT) is None
    first, second, third = (boot(world, id=f"i-{n}") for n in range(3))
    wait_up(third)
    assert first.heard == ["up"] and not greets(first.address) and "panic" in first.said()
    wait_up(second)
    [entry] = [entry for entry in world.ledger.all() if entry.id == "i-1"]
    assert entry.moments["running"] - entry.moments["launch"] >= 0.3
    assert world.unused() == []


def test_an_event_at_launch_waits_for_the_machine(make_world: MakeWorld) -> None:
    """What is to be killed has to be there first."""
    world = make_world("[boot]\ndelay = 0.1\n[[event]]\nafter='launch'\naction='kill'", "banner")
    booted = boot(world)
    until(lambda: booted.heard == ["up", "crash"])


def test_a_seed_repeats_what_is_random(make_world: MakeWorld) -> None:
    """With one seed the same instances answer, with another others do."""

    def dead(seed: int) -> list[bool]:
        world = make_world("[boot]\nnever = 0.5", "banner", seed=seed)
        all_ = [boot(world, id=f"i-{n}") for n in range(12)]
        until(lambda: all(one.heard for one in all_))
        return [greets(one.address, 0.1) for one in all_]

    assert dead(1) == dead(1) != dead(2)


def test_an_address_is_nobody_elses(make_world: MakeWorld) -> None:
    """Two emulators on one host never give out the same one, and a free one is refused."""
    one, other = make_world("", "banner"), make_world("", "banner")
    addresses = [world.address("gcp") for world in (one, other) for _ in range(5)]
    assert len(set(addresses)) == 10
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((addresses[0], 22), 1)


def test_the_report_is_json(make_world: MakeWorld) -> None:
    """It holds calls, instances with times and dollars, what is alive, and events."""
    world = make_world("[[event]]\nafter = 'running'\naction = 'freeze'", "banner")
    world.judge("aws", "RunInstances", SPOT)
    world.refused("aws", "RunInstances", SPOT, "VcpuLimitExceeded", "too many")
    first, second = boot(world, id="i-1"), boot(world, id="i-2")
    until(lambda: first.heard and second.heard)
    until(world.happenings.done)
    world.gone("aws", "i-1")
    told = json.loads(json.dumps(report.summary(world, report.ending(world, 3))))
    assert told["schema_version"] == 1 and told["exit_code"] == 3
    assert told["calls"] == {"aws": {"RunInstances": 1}}
    [refused] = told["refused"]
    assert refused["code"] == "VcpuLimitExceeded" and refused["by"] == "cloud"
    assert refused["zone"] == "us-east-1a"
    assert [one["state"] for one in told["instances"]] == ["gone", "alive"]
    assert told["alive"] == ["aws/i-2"] and told["booted"] == 2
    assert told["instances"][0]["dollars"] > 0 and told["instances"][0]["type"] == "t3.medium"
    assert [event["action"] for event in told["events"]] == ["freeze"]
