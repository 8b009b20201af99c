"""Google's operations: what a change answers with, and what it has come to."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ..ports import World
from .refusals import Failure, Refusal

ROOT = "https://www.googleapis.com/compute/v1"
SECONDS = 0.15
"""What an operation takes here; Google's take one to some tens of seconds."""
LONGEST_WAIT = 20.0
"""Seconds that ``wait`` waits at most; Google's waits up to two minutes."""
Work = Callable[[], Failure | None]


def stamp(seconds: float) -> str:
    """A time as Google writes it."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds")


class Operations:
    """All operations of the project. Safe from any thread."""

    def __init__(self, world: World, project: str, number: Callable[[], str]) -> None:
        self._world = world
        self._project = project
        self._number = number
        self._all: dict[tuple[str, str], dict[str, Any]] = {}
        self._done: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._count = itertools.count(1)

    def start(
        self, kind: str, scope: str, target: str, work: Work | None = None, user: str = ""
    ) -> dict[str, Any]:
        """A new operation; ``work`` is done when it is due and may say why it failed.

        ``scope``: ``zones/Z``, ``regions/R`` or ``global``. ``target``: a link.
        """
        operation = self._new(kind, scope, target, user)
        name = operation["name"]
        self._world.later(SECONDS / 3, lambda: self._update(scope, name, {"status": "RUNNING"}))
        self._world.later(SECONDS, lambda: self._finish(scope, name, work))
        return dict(operation)

    def record(self, kind: str, scope: str, target: str, message: str = "") -> None:
        """Note something that Google itself did, and that is over."""
        operation = self._new(kind, scope, target, "system")
        changes = {"statusMessage": message} if message else {}
        self._close(scope, operation["name"], changes)

    def get(self, scope: str, name: str) -> dict[str, Any]:
        """One operation as it is. Raises Refusal (404)."""
        with self._lock:
            found = self._all.get((scope, name))
            if found is None:
                place = f"projects/{self._project}/{scope}/operations/{name}"
                raise Refusal(404, "notFound", f"The resource '{place}' was not found")
            return dict(found)

    def wait(self, scope: str, name: str) -> dict[str, Any]:
        """One operation when it is done, or after a while."""
        self.get(scope, name)
        self._done[name].wait(LONGEST_WAIT)
        return self.get(scope, name)

    def of(self, scope: str) -> list[dict[str, Any]]:
        """The operations of a zone or of the whole project, oldest first."""
        with self._lock:
            return [dict(found) for (place, _), found in self._all.items() if place == scope]

    def release(self) -> None:
        """Let whoever waits go: the world has ended."""
        for event in list(self._done.values()):
            event.set()

    def _new(self, kind: str, scope: str, target: str, user: str) -> dict[str, Any]:
        now = self._world.wall()
        with self._lock:
            name = f"operation-{int(now * 1000)}-{next(self._count):013x}-0"
            operation: dict[str, Any] = {
                "kind": "compute#operation",
                "id": self._number(),
                "name": name,
                "operationType": kind,
                "status": "PENDING",
                "progress": 0,
                "insertTime": stamp(now),
                "user": user,
                "targetLink": target,
                "targetId": self._number(),
                "selfLink": f"{ROOT}/projects/{self._project}/{scope}/operations/{name}",
            }
            place, _, where = scope.partition("/")
            if where:
                link = f"{ROOT}/projects/{self._project}/{scope}"
                operation[place[:-1]] = link
            self._all[scope, name] = operation
            self._done[name] = threading.Event()
            return dict(operation)

    def _update(self, scope: str, name: str, changes: dict[str, Any]) -> None:
        with self._lock:
            found = self._all[scope, name]
            if found["status"] != "DONE":
                found.update(changes)

    def _finish(self, scope: str, name: str, work: Work | None) -> None:
        self._update(scope, name, {"startTime": stamp(self._world.wall())})
        failed = work() if work is not None else None
        changes: dict[str, Any] = {}
        if failed is not None:
            changes = {
                "httpErrorStatusCode": failed.status,
                "httpErrorMessage": failed.status_name,
                "error": {"errors": [failed.entry]},
            }
        self._close(scope, name, changes)

    def _close(self, scope: str, name: str, changes: dict[str, Any]) -> None:
        end = {"status": "DONE", "progress": 100, "endTime": stamp(self._world.wall())}
        self._update(scope, name, {**changes, **end})
        self._done[name].set()
