"""Requests that take long are no reason for the agent to be silent."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.runtime_agent.requests import Requests
from byoc.wire.messages import Message
from tests.helpers import until


def test_files_are_put_in_place_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on while gigabytes are copied; the answer comes when they are there, and not to
    a session that is over."""
    monkeypatch.chdir(tmp_path)
    sent: list[dict[str, Any]] = []
    soon: deque[Any] = deque()
    agent: Any = SimpleNamespace(session="one", send=sent.append, soon=soon.append)
    requests = Requests(agent)
    head = {"t": "files", "entries": [], "root": str(tmp_path / "root"), "real_root": False}
    with requests._filing:  # somebody's gigabytes
        requests.handle(Message({**head, "req": 1}, []))
        assert not soon
    until(lambda: soon)
    soon.popleft()()
    assert [(word["req"], word["ok"]) for word in sent] == [(1, True)]
    with requests._filing:
        requests.handle(Message({**head, "req": 2}, []))
        agent.session = "two"
    until(lambda: soon)
    soon.popleft()()
    assert len(sent) == 1
