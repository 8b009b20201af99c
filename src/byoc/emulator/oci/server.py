"""One HTTP server for all regions and services: authentication, validation, retry tokens, pages.

A region's requests begin with its name (``/eu-frankfurt-1/20160918/instances``); without one they
are the home region's. The signature covers the path as it was sent.
"""

from __future__ import annotations

import http.server
import json
import logging
import re
import secrets
import socketserver
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...pricing import catalog
from ..ports import Fault, World
from . import refusals, shapes
from .account import Account
from .authority import Authority
from .calls import Call, Handler, Page, Text
from .places import HOME
from .principals import PATH, Principals
from .refusals import Refusal
from .schema import Schema
from .signing import Request, verify
from .store import etag

_LOG = logging.getLogger(__name__)

CLOUD = "oci"
PAGE = 100
"""Items of a page when the request does not say."""
EMPTY_FIRST = frozenset({"list_instances", "list_vnic_attachments", "list_vcns", "list_images"})
"""Lists whose first page is empty while more follow, when the tenancy is told to be so."""
UNDONE = 0
"""In place of a status: the request was dropped before anything was done."""


class Answer(NamedTuple):
    """An answer to be written. ``drop``: close the connection instead."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    type: str = "application/json"
    drop: bool = False


class Service:
    """Answers requests. Safe from any thread."""

    def __init__(
        self,
        world: World,
        schema: Schema,
        handlers: Mapping[str, Handler],
        account: Account,
        principals: Principals,
        empty_pages: bool = False,
    ) -> None:
        self._world = world
        self._schema = schema
        self._handlers = handlers
        self._account = account
        self._principals = principals
        self._authority = Authority(account, lambda: world.permit(CLOUD))
        self._empty_pages = empty_pages
        self._regions = frozenset(catalog.regions("oci"))
        self._tokens: dict[tuple[str, str], tuple[bytes, threading.Event, list[Answer]]] = {}
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """The answer to a request, whatever it is."""
        seen: list[Call] = []
        try:
            return self._answer(request, seen)
        except Refusal as refusal:
            self._note(seen, refusal)
            body = {"code": refusal.code, "message": refusal.message}
            return Answer(refusal.status, _json(body))

    def _note(self, seen: list[Call], refusal: Refusal) -> None:
        """Tell the world of a refusal of the cloud's own; the scenario's it knows."""
        if seen and not refusal.asked_for:
            call = seen[0]
            self._world.refused(
                CLOUD, call.operation.name, _facts(call), refusal.code, refusal.message
            )

    def _answer(self, request: Request, seen: list[Call]) -> Answer:
        path, _, text = request.target.partition("?")
        if path.endswith(PATH):
            return Answer(200, _json(self._principals.exchange(request)))
        who = verify(request, self._key_of, self._world.wall())
        region, path = self._place(urllib.parse.unquote(path))
        matched = self._schema.match(request.verb, path)
        if matched is None:
            raise Refusal(404, "NotFound", f"Unknown resource {request.verb} {path}")
        operation, parameters = matched
        query = urllib.parse.parse_qs(text, keep_blank_values=True)
        call = Call(
            operation, region, parameters, query, _body(request),
            if_match=request.headers.get("if-match", ""),
        )  # fmt: skip
        seen.append(call)
        self._check(call)
        self._authority.check(who, self._principals.instance_of(who), call)
        token = request.headers.get("opc-retry-token", "") if operation.retry_token else ""
        if token:
            return self._once(call, token, request.body)
        return self._act(call)

    def _key_of(self, key_id: str) -> Any:
        return self._account.key_of(key_id) or self._principals.key_of(key_id)

    def _place(self, path: str) -> tuple[str, str]:
        first, _, rest = path[1:].partition("/")
        return (first, f"/{rest}") if first in self._regions else (HOME, path)

    def _check(self, call: Call) -> None:
        operation = call.operation
        if not operation.package or operation.name not in self._handlers:
            self._world.judge(CLOUD, operation.name, {"region": call.region})
            raise Refusal(
                501, "NotImplemented", f"{operation.name} is a real operation, but not emulated"
            )
        wrong = self._schema.check_query(operation, call.query)
        wrong += self._schema.check_body(operation, call.body)
        if wrong:
            raise Refusal(400, _code(wrong[0]), "; ".join(wrong))

    def _once(self, call: Call, token: str, body: bytes) -> Answer:
        """A repeat of a token gets the first answer, also while the first is being worked on."""
        key = (call.operation.name, token)
        with self._lock:
            first = key not in self._tokens
            known = self._tokens.setdefault(key, (body, threading.Event(), []))
        made, done, answers = known
        if made != body:
            raise Refusal(409, "InvalidatedRetryToken", refusals.USUAL["InvalidatedRetryToken"][2])
        if not first:
            done.wait(timeout=60)
            return self._repeated(call, answers[0]) if answers else self._act(call)
        try:
            answer = self._act(call)
            if answer.status != UNDONE:
                answers.append(answer._replace(drop=False))
            return answer
        finally:
            if not answers:  # nothing was made: the token is free again
                with self._lock:
                    self._tokens.pop(key, None)
            done.set()

    def _repeated(self, call: Call, answer: Answer) -> Answer:
        """What a repeat of a request that was done is told; faults apply to it as to any other."""
        facts = _facts(call)
        fault = self._world.judge(CLOUD, call.operation.name, facts)
        drop = fault is not None and fault.error == "lost-reply"
        if fault is not None and not drop:
            spoilt = self._spoilt(call, fault, facts)
            if spoilt is not None:
                return spoilt
        return self._again(call, answer)._replace(drop=drop)

    def _again(self, call: Call, answer: Answer) -> Answer:
        """The first answer, with the resource as it is now: terminated when it was removed, as it
        was while reads do not show it yet."""
        what = re.sub("^(launch|create)_", "get_", call.operation.name)
        show, operation = self._handlers.get(what), self._schema.operations.get(what)
        made = json.loads(answer.body)
        if show is None or operation is None or "lifecycleState" not in made:
            return answer
        (named,) = re.findall(r"{(\w+)}", operation.path)
        try:
            now = show(Call(operation, "", {named: made["id"]}, {}, None))
        except Refusal:
            if self._world.hidden(CLOUD, made["id"]):
                return answer
            now = {**made, "lifecycleState": "TERMINATED"}
        return answer._replace(body=_json(now))

    def _act(self, call: Call) -> Answer:
        facts = _facts(call)
        fault = self._world.judge(CLOUD, call.operation.name, facts)
        drop = fault is not None and fault.error == "lost-reply"
        if fault is not None and not drop:
            answer = self._spoilt(call, fault, facts)
            if answer is not None:
                return answer
            call = call._replace(fault=fault)
        found = self._handlers[call.operation.name](call)
        return self._shaped(call, found)._replace(drop=drop)

    def _spoilt(self, call: Call, fault: Fault, facts: Mapping[str, str]) -> Answer | None:
        """What a fault makes of the call; None when the handler is to see to it."""
        if fault.error == "no-answer":
            return Answer(UNDONE, drop=True)
        if fault.error == "ignore" and call.operation.response is None:
            return Answer(204)
        if fault.error == refusals.WORK_REQUEST and call.operation.name == "launch_instance":
            return None
        kind = shapes.kinds().get(facts.get("shape", ""))
        limit = {"limit": kind.limits[0]} if kind else {}
        raise refusals.of(fault, {**facts, **limit})

    def _shaped(self, call: Call, found: Any) -> Answer:
        headers: dict[str, str] = {}
        if found is None:
            return Answer(204)
        if isinstance(found, Text):
            return Answer(200, found.text.encode(), {}, "text/plain")
        if isinstance(found, Page):
            found, headers = self._page(call, found.items)
        wrong = self._schema.check_response(call.operation, found)
        if wrong:
            _LOG.error("the emulator's own answer is wrong: %s", "; ".join(wrong))
            raise Refusal(500, "EmulatorBug", "; ".join(wrong))
        return Answer(200, _json(found), {**headers, "etag": etag(found)})

    def _page(
        self, call: Call, items: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        size, page = int(call.asked("limit", str(PAGE))), call.asked("page")
        if self._empty_pages and not page and items and call.operation.name in EMPTY_FIRST:
            return [], {"opc-next-page": "0"}
        start = int(page or 0)
        following = start + size
        more = {"opc-next-page": str(following)} if following < len(items) else {}
        return items[start:following], more


def _facts(call: Call) -> dict[str, str]:
    """What a request is about, for the scenario."""
    body = call.body if isinstance(call.body, dict) else {}
    zone = body.get("availabilityDomain") or call.asked("availabilityDomain")
    facts = {"region": call.region, "zone": zone, **call.path}
    if "instanceId" in call.path:
        facts["id"] = call.path["instanceId"]
    if call.operation.name == "launch_instance":
        config = body.get("shapeConfig") or {}
        sizes = (config.get("ocpus"), config.get("memoryInGBs"))
        shape = str(body.get("shape"))
        facts |= {
            "type": f"{shape}:{sizes[0]:g}o-{sizes[1]:g}g" if all(sizes) else shape,
            "shape": shape,
            "market": "spot" if body.get("preemptibleInstanceConfig") else "on-demand",
            "name": str(body.get("displayName") or ""),
        }
    return {name: value for name, value in facts.items() if value}


def _body(request: Request) -> Any:
    if not request.body:
        return None
    try:
        return json.loads(request.body)
    except ValueError:
        raise Refusal(400, "CannotParseRequest", "The body is not JSON") from None


def _code(problem: str) -> str:
    if "unrecognized field" in problem:
        return "CannotParseRequest"
    return "MissingParameter" if "must not be null" in problem else "InvalidParameter"


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


class _Door(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one write for an answer: two small ones cost 40 ms with a delayed ACK
    timeout = 120  # a client that is gone must not hold its thread for ever
    service: Service

    def log_message(self, format: str, *args: object) -> None:
        _LOG.debug(format, *args)

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(size))
        answer = self.service.answer(request)
        if answer.drop:
            self.close_connection = True
            return
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.body)))
        given = headers.get("opc-request-id", "")
        self.send_header("opc-request-id", f"{given or 'emulated'}/{secrets.token_hex(16).upper()}")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - names that http.server looks for


class _Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        _LOG.debug("a connection of %s failed", client_address, exc_info=True)


def listen(service: Service) -> _Listener:
    """A server on loopback, on a port of its own, not yet serving."""
    door = type("Door", (_Door,), {"service": service})
    return _Listener(("127.0.0.1", 0), door)
