"""A container that cannot start: what those who wait are told."""

from __future__ import annotations

import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.clock import IDS, SYSTEM
from byoc.engine.inputs import Input, Outcome
from byoc.engine.pool import Pool
from byoc.engine.results import value_of
from byoc.engine.session import Session
from byoc.engine.slots import Load, Slot
from byoc.wire.messages import Message
from tests.engine.fake import failure
from tests.engine.specs import spec


def imported() -> None:
    """Stands for the user's module, which fails while it is imported."""
    raise ModuleNotFoundError("No module named 'torch'")


def test_everyone_gets_the_frames_of_a_failed_import() -> None:
    """Each call that waited raises its own exception, with the remote line that failed."""
    nothing: Any = None
    session = Session(nothing, nothing, nothing, run_id="run-1", clock=SYSTEM, ids=IDS)
    pool, told = Pool(spec()), list[Outcome]()
    slot = Slot(SimpleNamespace(free_gpus=[], load=Load(1, 1000), leaving=False), 16, "ta-1")
    pool.add(slot, Load(2.0, 8000))
    pool.enqueue([Input(n, (), lambda item, outcome: told.append(outcome)) for n in (1, 2)])
    try:
        imported()
    except ModuleNotFoundError as error:
        session._on_message(pool, slot, Message({"t": "failed"}, list(failure(error).buffers)))
    session._on_exit(pool, slot, {"reason": "exit", "code": 1, "inputs": []})
    errors = []
    for outcome in told:
        with pytest.raises(ModuleNotFoundError, match="torch") as caught:
            value_of(outcome)
        errors.append(caught.value)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "imported"
    assert len(errors) == 2
    assert errors[0] is not errors[1]
