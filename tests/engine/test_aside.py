"""Messages whose large buffers come beside them: nonsense among them is their container's end."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.engine.bulk import Aside
from byoc.wire.link import FrameError
from byoc.wire.messages import Message

TOKEN = "00" * 16


def aside(unhandled: list[BaseException]) -> tuple[Aside, list[Any]]:
    """One whose transfers stay with the test."""
    line: Any = SimpleNamespace(rtt=0.0, reaches_sockets=True)
    made = Aside(line, lambda: None, unhandled.append)
    transfers: list[Any] = []
    made._down.add = transfers.extend  # type: ignore[method-assign]
    return made, transfers


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (7, [[0, TOKEN, 5]]),
        ([[1, 0]], [[0, TOKEN, 5]]),
        ([[1, 0, 10**12, 5]], [[0, TOKEN, 5]]),
        ([[1, 0, "1", 5]], [[0, TOKEN, 5]]),
        ([[1, 0, 1, 5]], [[0, TOKEN]]),
        ([[1, 0, 1, 5]], [[{}, TOKEN, 5]]),
        ([[1, 0, 1, 5]], [[0, TOKEN, float("inf")]]),
        ([[1, 0, 1, 5]], 3),
    ],
)
def test_results_that_are_none_are_refused(entries: Any, named: Any) -> None:
    """Whatever a container calls a result with buffers aside, it is checked before it is used."""
    made, transfers = aside([])
    with pytest.raises(FrameError):
        made.take(Message({"t": "out", "b": entries, "x": named}, [b""]), lambda message: None)
    assert not transfers


def test_a_failure_behind_a_transfer_does_not_break_what_brings_it() -> None:
    """What a late message raises is told to its container's stream; the next one is delivered."""
    raised: list[BaseException] = []
    got: list[str] = []
    made, transfers = aside(raised)

    def deliver(message: Message) -> None:
        if message.head["t"] == "bad":
            raise FrameError("nonsense")
        got.append(message.head["t"])

    made.take(Message({"t": "bad", "x": [[0, TOKEN, 5]]}, [b""]), deliver)
    made.take(Message({"t": "good"}, []), deliver)
    _arrive(transfers)
    assert [str(error) for error in raised] == ["nonsense"]
    assert got == ["good"]


def _arrive(transfers: Sequence[Any]) -> None:
    for transfer in transfers:
        transfer.arrived()
