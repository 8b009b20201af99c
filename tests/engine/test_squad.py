"""A program on several nodes: whose end counts when one of them fails or is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from byoc.engine.slots import Slot
from byoc.engine.squad import Squads, _Squad
from byoc.errors import ConnectionLostError, ContainerError
from tests.engine.hosts import Host


class Told:
    """The part of a session that waits for a squad."""

    _outcome = Squads._outcome
    _bury = Squads._bury

    def __init__(self) -> None:
        self.notices: list[str] = []
        self._reporter: Any = SimpleNamespace(notice=self.notices.append)


def squad_of(count: int) -> tuple[_Squad, list[Host]]:
    hosts = [Host() for _ in range(count)]
    squad = _Squad([Slot(host, 16, f"ta-{n}") for n, host in enumerate(hosts)])
    squad.left.update(range(count))
    return squad, hosts


def ends(squad: _Squad, rank: int, reason: str = "exit", **word: Any) -> None:
    squad.ended(rank, squad.slots[rank], {"reason": reason, **word})


def test_all_good_is_zero_and_the_first_failure_counts() -> None:
    """0 once all ended by 0; else the first other code, when those that were ended have said so."""
    told = Told()
    squad, _ = squad_of(2)
    ends(squad, 1, code=0)
    ends(squad, 0, code=0)
    assert told._outcome(squad, "train", 0.0) == 0  # type: ignore[misc]
    squad, hosts = squad_of(3)
    ends(squad, 2, code=5)
    ends(squad, 0, "signal", signal=15)
    ends(squad, 1, "signal", signal=15)
    assert told._outcome(squad, "train", 0.0) == 5  # type: ignore[misc]
    assert [len(host.told("kill")) for host in hosts] == [1, 1, 0]
    assert told.notices == ["rank 2 failed: the others are ended"]


def test_the_loss_of_an_instance_counts_more_than_what_its_peers_say() -> None:
    """A peer's failure is known first; then the loss, which explains it, is what is raised."""
    told = Told()
    squad, hosts = squad_of(2)
    ends(squad, 0, code=1)
    squad.lost(hosts[1], ConnectionLostError("it is gone"))  # type: ignore[arg-type]
    with pytest.raises(ConnectionLostError):
        told._outcome(squad, "train", 0.0)  # type: ignore[misc]
    assert told.notices[-1] == "rank 1 is lost"


def test_what_cannot_start_names_its_rank() -> None:
    """A missing program is an error of the rank that lacks it."""
    told = Told()
    squad, _ = squad_of(2)
    ends(squad, 1, "start", detail="No such file")
    ends(squad, 0, "signal", signal=15)
    with pytest.raises(ContainerError, match=r"train \(rank 1\) cannot be started"):
        told._outcome(squad, "train", 0.0)  # type: ignore[misc]
