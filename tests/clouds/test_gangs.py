"""Gangs on clouds: nodes reach each other, where they were asked to; a lost one is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.providers.base import Instance
from tests.clouds.accounts import CLOUDS, REGIONS, Account, opened
from tests.clouds.rehearsal import BYOC, PROGRAMS, real_machines, rehearse
from tests.clouds.test_preemption import event


@real_machines
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_node_that_is_taken_in_the_middle_is_replaced_alone(byoc_home: Path, cloud: str) -> None:
    """Two nodes add up numbers over their private network; one is taken away without a word in the
    middle of a call: that one is launched anew in the same zone, and the call begins again."""
    program = str(PROGRAMS / "gang.py")
    words = ("run", program, "--cloud", cloud, "--region", REGIONS[cloud], "--spot", "--no-keep")
    scenario = event(cloud, 0, delay=1.5)
    done = rehearse(byoc_home, BYOC, *words, scenario=scenario)
    assert done.code == 0, done.err
    assert "sums 2.0 80.0\nkept 1 new 1\n" in done.out, done.out
    assert "[rank 0] round 0\n" in done.out and "[rank 1] round 39\n" in done.out
    assert "1 of 2 instances are launched anew in" in done.err, done.err
    instances = done.report["instances"]
    assert len(instances) == 3 and len({one["zone"] for one in instances}) == 1
    assert done.report["alive"] == [] and done.report["leftovers"] == []


@pytest.mark.parametrize("cloud", CLOUDS)
def test_rules_join_an_owners_instances_only_when_asked(cloud: str) -> None:
    """Instances of one owner reach each other's ports once one of them was launched for a gang, not
    before; those of another owner never do."""
    with opened(f"emulated-{cloud}") as account:
        alone, other = _launch(account), _launch(account)
        assert not _joined(account, alone, other)
        member = _launch(account, mesh=True)
        assert _joined(account, member, other) and _joined(account, other, member)
        stranger = account.another()
        stranger.owner = "another-owner"
        theirs = _launch(stranger, mesh=True)
        assert not _joined(account, theirs, member) and not _joined(account, member, theirs)
        inside = [account.running(one.id).inside for one in (alone, member)]
        assert all(inside) and len(set(inside)) == 2
        for one in (alone, other, member, theirs):
            account.provider.terminate(one.id)


def _launch(account: Account, mesh: bool = False) -> Instance:
    request = account.request(account.placed())
    return account.provider.launch(request._replace(mesh=mesh))


def _joined(account: Account, source: Instance, target: Instance) -> bool:
    """By the emulated account's own rules; the world names instances as the cloud does."""
    assert account.world is not None
    facade = next(one for one in account.world.facades() if one.cloud == account.name)
    names = [
        one.id.rpartition("/")[2] if account.name == "aws" else one.id for one in (source, target)
    ]
    return facade.lets_in(*names)
