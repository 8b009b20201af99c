"""Work requests: how what was accepted went on."""

from __future__ import annotations

from typing import Any

from .calls import Call, Handler, Page
from .refusals import not_found
from .store import Resource, Store


class Work:
    """Handlers of the work request service, and what others tell it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {
            "list_work_requests": self.list,
            "get_work_request": self.get,
            "list_work_request_errors": self.errors,
            "list_work_request_logs": self.logs,
        }

    def begin(self, operation: str, about: Resource) -> Resource:
        """A work request that is in progress."""
        made = self._store.add(
            "WorkRequest",
            about.region,
            {"compartmentId": about.body["compartmentId"]},
            operationType=operation,
            status="IN_PROGRESS",
            percentComplete=0.0,
            timeAccepted=self._store.now(),
            timeStarted=self._store.now(),
            resources=[{"actionType": "RELATED", "entityType": "instance", "identifier": about.id}],
        )
        made.notes["about"] = about.id
        return made

    def end(self, one: Resource, error: str = "") -> None:
        """It is done; with ``error``, it failed."""
        one.body |= {
            "status": "FAILED" if error else "SUCCEEDED",
            "percentComplete": 100.0,
            "timeFinished": self._store.now(),
        }
        if error:
            one.notes["error"] = {
                "code": "InternalError", "message": error, "timestamp": self._store.now(),
            }  # fmt: skip

    def list(self, call: Call) -> Page:
        """ListWorkRequests, of one resource or all."""
        about = call.asked("resourceId")
        found = [
            {name: value for name, value in one.body.items() if name != "resources"}
            for one in self._store.every("WorkRequest", call.region)
            if not about or one.notes["about"] == about
        ]
        return Page(found)

    def get(self, call: Call) -> dict[str, Any]:
        """GetWorkRequest."""
        return self._one(call).body

    def errors(self, call: Call) -> Page:
        """ListWorkRequestErrors."""
        error = self._one(call).notes.get("error")
        return Page([error] if error else [])

    def logs(self, call: Call) -> Page:
        """ListWorkRequestLogs: none are kept."""
        self._one(call)
        return Page([])

    def _one(self, call: Call) -> Resource:
        for one in self._store.every("WorkRequest"):
            if one.id == call.path["workRequestId"]:
                return one
        raise not_found("work request")
