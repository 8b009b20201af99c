"""Notices of a preemption, read where each cloud says them. Standard library only, CPython 3.8+.

Asked is the machine's own metadata service at its link-local address and nothing else, without any
proxy, and only when the client has said that this machine may be preempted. Loaded only then.
"""

from __future__ import annotations

import calendar
import http.client
import json
import threading
import time
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from .host import note

ADDRESS = "169.254.169.254"
"""Of the metadata service, on every cloud; packets to it never leave the machine's host."""
TIMEOUT = 5.0
"""Seconds for an answer that comes at once."""
RETRY, LONGEST_RETRY = 2.0, 60.0
"""Seconds until the next question after one without an answer; doubles up to the longest."""
MOST_SECONDS = 3600.0
"""More is not a notice: the machine's clock is wrong, or the answer is."""
_BODY = 4096  # bytes of an answer that are read


class Notice(NamedTuple):
    """``source``: who says so. ``seconds``: until the machine is taken, ``at``: when, in seconds
    since the epoch. ``sure``: it will be; else it is only likelier than before."""

    source: str
    seconds: float
    at: float
    sure: bool


class Answer(NamedTuple):
    """Status, headers in lower case, and the text."""

    status: int
    headers: Mapping[str, str]
    text: str


def ask(method: str, path: str, headers: Mapping[str, str], timeout: float = TIMEOUT) -> Answer:
    """One question to the metadata service. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(ADDRESS, 80, timeout=timeout)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        text = answer.read(_BODY).decode("utf-8", "replace")
        known = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, known, text)
    finally:
        connection.close()


class Documents:
    """A document that appears when the machine is to be taken, another one when that has become
    likelier; both are shown to who has a token, which is good for some hours."""

    EVERY = 2.0
    """Seconds; the vendor says 5 or fewer, and its own node termination handler asks every 2: what
    waits on this machine is elsewhere within five seconds of the notice then."""
    TOKEN_LIFE = 21600

    def __init__(self, name: str, words: Mapping[str, str], seconds: float) -> None:
        self._name = name
        self._words = words
        self._seconds = seconds
        self._token = ""
        self._renew = 0.0
        self._warned = False

    def look(self) -> Optional[Notice]:
        """What is said now that was not said before."""
        text = self._document(self._words["sure"])
        if text:
            at = _epoch(json.loads(text)["time"])
            return _notice(self._name, at - time.time(), True)
        if not self._warned and self._document(self._words["likely"]):
            self._warned = True
            return _notice(self._name, self._seconds, False)
        return None

    def _document(self, path: str) -> str:
        if time.monotonic() >= self._renew:
            life = {self._words["life-header"]: str(self.TOKEN_LIFE)}
            self._token = _good(ask("PUT", self._words["token"], life))
            self._renew = time.monotonic() + self.TOKEN_LIFE / 2
        answer = ask("GET", path, {self._words["token-header"]: self._token})
        if answer.status == 401:
            self._renew = 0.0
        return "" if answer.status == 404 else _good(answer)


class Switch:
    """A value that turns to TRUE; the answer waits for that."""

    EVERY = 1.0
    WAIT = 120
    """Seconds for which a question waits for a change; then it is asked again."""

    def __init__(self, name: str, words: Mapping[str, str], seconds: float) -> None:
        self._name = name
        self._path = words["path"]
        self._headers = {words["header"]: words["value"]}
        self._seconds = seconds
        self._etag = ""

    def look(self) -> Optional[Notice]:
        """What is said now; waits while nothing changes."""
        path, timeout = self._path, TIMEOUT
        if self._etag:  # what changed since that answer is told at once
            path += "?wait_for_change=true&timeout_sec=%d&last_etag=%s" % (self.WAIT, self._etag)
            timeout += self.WAIT
        answer = ask("GET", path, self._headers, timeout)
        text = _good(answer)
        etag = answer.headers.get("etag", "0")
        self._etag = etag if etag.isalnum() else "0"
        preempted = text.strip().upper() == "TRUE"
        return _notice(self._name, self._seconds, True) if preempted else None


SOURCES: Dict[str, Tuple[Any, Dict[str, str]]] = {
    "aws": (
        Documents,
        {
            "token": "/latest/api/token",
            "life-header": "X-aws-ec2-metadata-token-ttl-seconds",
            "token-header": "X-aws-ec2-metadata-token",
            "sure": "/latest/meta-data/spot/instance-action",
            "likely": "/latest/meta-data/events/recommendations/rebalance",
        },
    ),
    "gcp": (
        Switch,
        {
            "path": "/computeMetadata/v1/instance/preempted",
            "header": "Metadata-Flavor",
            "value": "Google",
        },
    ),
}
"""By the name that a provider gives in its traits: what kind it is, and its words."""


class Watcher(threading.Thread):
    """Looks, in a thread of its own, and calls ``told(notice)`` from there; after a sure one it has
    nothing more to say. Raises ValueError for a source that is not known.

    ``seconds``: of warning that this cloud gives, where it does not say when."""

    def __init__(self, source: str, seconds: float, told: Callable[[Notice], None]) -> None:
        super().__init__(name="byoc-notices", daemon=True)
        if source not in SOURCES:
            raise ValueError("notices of %.40r are not known here" % source)
        kind, words = SOURCES[source]
        self._source = kind(source, words, seconds)
        self._told = told
        self.start()

    def run(self) -> None:
        """Until there is a sure notice."""
        pause = RETRY
        while True:
            found, failed = self._look()
            if failed:
                if pause == RETRY:
                    note("notices of a preemption cannot be read now: %s" % failed)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY)
                continue
            pause = RETRY
            if found is not None:
                self._told(found)
                if found.sure:
                    return
            time.sleep(self._source.EVERY)

    def _look(self) -> Tuple[Optional[Notice], str]:
        try:
            return self._source.look(), ""
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            return None, "%s: %s" % (type(error).__name__, error)


def _good(answer: Answer) -> str:
    if answer.status != 200:
        raise ValueError("the metadata service answered %d" % answer.status)
    return answer.text


def _epoch(text: str) -> float:
    """``2026-11-21T10:00:00Z`` in seconds since the epoch."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def _notice(source: str, seconds: float, sure: bool) -> Notice:
    seconds = min(max(0.0, seconds), MOST_SECONDS)
    return Notice(source, seconds, time.time() + seconds, sure)
