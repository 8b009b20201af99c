"""HTTP: who asks, for what, whether it may be asked like that, and the answer's own check."""

from __future__ import annotations

import http.server
import json
import logging
import threading
import urllib.parse
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, NamedTuple

from ..ports import Fault, Reply, World
from . import stock
from .account import Account
from .authority import Authority
from .calls import Call, Handler
from .discovery import Discovery
from .instances import CLOUD
from .listing import UNREACHABLE
from .project import DENIED
from .refusals import Refusal, Words, at_once

_LOG = logging.getLogger(__name__)
TOKEN_PATHS = ("/token", "/o/oauth2/token")
_OURS = ("ignore", UNREACHABLE, DENIED)
"""Errors of scenarios that handlers deal with; ``lost-reply`` and ``no-answer`` are dealt with
here."""
POLL = 0.02
"""Seconds between two looks at whether the server is to stop."""
_CHANGES = ("insert", "delete", "patch", "stop", "setLabels")


class Answer(NamedTuple):
    """``body``: JSON. ``dropped``: the connection ends without a word."""

    status: int
    body: Any
    dropped: bool = False


DROPPED = Answer(0, None, True)


class Desk:
    """Answers requests. ``handlers``: by method id. Safe from any thread."""

    def __init__(
        self,
        world: World,
        project: str,
        account: Account,
        discovery: Discovery,
        handlers: Mapping[str, Handler],
        authority: Authority,
    ) -> None:
        self._world = world
        self._authority = authority
        self._project = project
        self._account = account
        self._discovery = discovery
        self._handlers = handlers

    def answer(self, verb: str, target: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        """One request, from its line, headers (in lower case) and body."""
        parts = urllib.parse.urlsplit(target)
        now = self._world.wall()
        try:
            if verb == "POST" and parts.path in TOKEN_PATHS:
                return Answer(200, self._account.grant(raw, now))
            found = self._discovery.match(verb, parts.path)
            if found is None:
                raise Refusal(404, "notFound", f"{verb} {parts.path} is no method of the API")
            method, path = found
            query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
            body = _json(raw)
            return self._serve(Call(method, path, query, body, ""), headers)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.body)

    def reply(self, verb: str, target: str, headers: Mapping[str, str], raw: bytes) -> Reply:
        """The same for a machine; see :data:`byoc.emulator.ports.Metadata`."""
        answer = self.answer(verb, target, headers, raw)
        status = 503 if answer.dropped else answer.status
        return Reply(status, json.dumps(answer.body).encode(), "application/json")

    def _serve(self, call: Call, headers: Mapping[str, str]) -> Answer:
        op, facts = call.method.id, _facts(call)
        fault = self._world.judge(CLOUD, op, facts)
        try:
            if fault is not None:
                self._at_once(call, fault, facts)
                if fault.error == "no-answer":
                    return DROPPED
            user = self._account.who(headers.get("authorization", ""), self._world.wall())
            kept = fault if fault is None or fault.error != "lost-reply" else None
            body = self._handle(call._replace(user=user, fault=kept))
        except Refusal as refusal:
            if fault is None:
                self._world.refused(CLOUD, op, facts, refusal.code, str(refusal))
            raise
        return DROPPED if fault is not None and fault.error == "lost-reply" else Answer(200, body)

    def _at_once(self, call: Call, fault: Fault, facts: Mapping[str, str]) -> None:
        """Raise what a scenario asks for, when that comes at once."""
        if fault.error in (*_OURS, "lost-reply", "no-answer"):
            return
        target = f"projects/{self._project}/" + "/".join(
            value for key, value in call.path.items() if key != "project"
        )
        words = Words(
            self._project, target, zone=facts.get("zone", ""), region=facts.get("region", ""),
            permission=call.method.id.replace("insert", "create"),
        )  # fmt: skip
        refusal = at_once(fault.error, fault.message, fault.status, words)
        if refusal is None and call.method.id.rpartition(".")[2] not in _CHANGES:
            refusal = Refusal(fault.status or 400, fault.error, fault.message or fault.error)
        if refusal is not None:
            raise refusal

    def _handle(self, call: Call) -> Any:
        method = call.method
        handler = self._handlers.get(method.id)
        if handler is None:
            raise Refusal(501, "notImplemented", f"{method.id} is not emulated")
        self._check_place(call)
        wrong = method.api.check_query(method, call.path, call.query)
        wrong += method.api.check_body(method, call.body)
        if wrong:
            raise Refusal(400, "invalid", wrong[0])
        self._authority.check(call)
        body = handler(call)
        drift = method.api.check_answer(method, body)
        if drift:
            _LOG.error("the answer to %s is not what Google's would be: %s", method.id, drift)
            raise Refusal(500, "emulatorBug", drift[0])
        return body

    def _check_place(self, call: Call) -> None:
        project = call.path.get("project") or call.path.get("resource")
        public = call.method.id.startswith("compute.images.")
        if project != self._project and not public:
            message = f"The resource 'projects/{project}' was not found"
            raise Refusal(404, "notFound", message)
        zone, region = call.path.get("zone"), call.path.get("region")
        if zone is not None and zone not in stock.zones():
            raise Refusal(
                400, "invalid", f"Invalid value for field 'zone': '{zone}'. Unknown zone."
            )
        if region is not None and region not in stock.regions():
            message = f"Invalid value for field 'region': '{region}'. Unknown region."
            raise Refusal(400, "invalid", message)


def _json(raw: bytes) -> Any:
    try:
        return _without_null(json.loads(raw)) if raw.strip() else None
    except ValueError as error:
        raise Refusal(400, "parseError", f"Invalid JSON payload received. {error}") from None


def _without_null(value: Any) -> Any:
    """JSON's ``null`` means that a field is absent."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _facts(call: Call) -> dict[str, str]:
    """What scenarios match: from the path, and of a launch from its body, good or bad."""
    path, body = call.path, call.body if isinstance(call.body, dict) else {}
    zone = path.get("zone", "")
    found = {"zone": zone, "region": path.get("region", "") or stock.region_of(zone)}
    name = path.get("instance") or str(body.get("name") or "")
    found["name"] = name
    if name and zone:
        found["id"] = f"{zone}/{name}"
    if call.method.id == "compute.instances.insert":
        found |= _launch_facts(body)
    return {key: value for key, value in found.items() if value}


def _launch_facts(body: Mapping[str, Any]) -> dict[str, str]:
    machine = str(body.get("machineType") or "").rpartition("/")[2]
    cards = body.get("guestAccelerators") or [{}]
    first = cards[0] if isinstance(cards, list) and isinstance(cards[0], dict) else {}
    card, number = str(first.get("acceleratorType") or ""), first.get("acceleratorCount") or 0
    scheduling = body.get("scheduling")
    scheduling = scheduling if isinstance(scheduling, dict) else {}
    spot = scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible"))
    count = int(number) if str(number).isdigit() else 0
    return {
        "type": stock.type_of(machine, card.rpartition("/")[2], count),
        "market": "spot" if spot else "on-demand",
    }


class Server:
    """A desk's door: an HTTP server on loopback."""

    def __init__(self, desk: Desk) -> None:
        handler = type("Handler", (_Handler,), {"desk": desk})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(POLL,), name="emulator-gcp", daemon=True
        )

    def start(self) -> None:
        """Serve; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one write an answer: two cost 40 ms through delayed acknowledgements
    disable_nagle_algorithm = True
    desk: Desk

    def _any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        answer = self.desk.answer(self.command, self.path, headers, raw)
        if answer.dropped:
            self.close_connection = True
            return
        data = json.dumps(answer.body).encode()
        self.send_response_only(answer.status)
        self.send_header("Date", formatdate(usegmt=True))
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - the base class's names

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in the world's log."""
