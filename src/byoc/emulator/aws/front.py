"""Every request to the account: authenticated, judged, validated, answered, and the answer checked.

What a request meets, in AWS's own order: the signature, the region, what the scenario says, the
service's model, permissions by dry run, and only then the account itself.
"""

from __future__ import annotations

import json
import logging
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from werkzeug.test import create_environ, run_wsgi_app

from ..ports import World
from . import refusals, schema, signing
from .answers import Answers
from .authority import Authority
from .identity import Identity
from .refusals import Refusal, Reply, refusal
from .rentals import CLOUD, Rentals
from .services import Services, enabled

_LOG = logging.getLogger(__name__)
PROTOCOLS = {
    "ec2": "ec2", "sts": "query", "iam": "query", "ssm": "json", "servicequotas": "json",
    "pricing": "json",
}  # fmt: skip
"""By the name with which a service's requests are signed."""
MODELS = {"servicequotas": "service-quotas"}
"""botocore's name of a service where it is another."""
MOTO = frozenset({
    "AllocateAddress", "AuthorizeSecurityGroupIngress", "CreateDefaultSubnet", "CreateDefaultVpc",
    "CreateNetworkInterface", "CreateSecurityGroup", "CreateSubnet", "CreateTags", "CreateVolume",
    "CreateVpc", "DeleteNetworkInterface", "DeleteSecurityGroup", "DeleteSubnet", "DeleteTags",
    "DeleteVolume", "DeleteVpc", "DescribeAddresses", "DescribeAvailabilityZones",
    "DescribeImages", "DescribeInstanceAttribute", "DescribeInstanceStatus",
    "DescribeInstanceTypeOfferings", "DescribeInstanceTypes", "DescribeInstances",
    "DescribeInternetGateways", "DescribeKeyPairs", "DescribeNetworkInterfaces",
    "DescribeRouteTables", "DescribeSecurityGroupRules", "DescribeSecurityGroups",
    "DescribeSubnets", "DescribeTags", "DescribeVolumes", "DescribeVpcAttribute", "DescribeVpcs",
    "ModifyInstanceAttribute", "ReleaseAddress", "RevokeSecurityGroupIngress", "RunInstances",
    "TerminateInstances",
})  # fmt: skip
"""EC2's operations that moto answers."""
_LOST, _NO_ANSWER, _IGNORE = "lost-reply", "no-answer", "ignore"
_UNKNOWN_KEY = {"ec2": "AuthFailure", "query": "InvalidClientTokenId"}
_WRONG_KEY = {"ec2": "AuthFailure", "query": "SignatureDoesNotMatch"}


class Request(NamedTuple):
    """An HTTP request; header names in lower case. ``url``: whole, as the client sees it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Call(NamedTuple):
    """A request that is understood. ``service``: as it signs. ``who``: whose signature it has."""

    service: str
    region: str
    op: str
    params: Mapping[str, Any]
    request: Request
    who: Identity


class Front:
    """Answers requests, from any thread. ``keys``: by access key, whose it is. ``moto``: its
    WSGI application for EC2."""

    def __init__(
        self,
        world: World,
        account: str,
        keys: Mapping[str, Identity],
        rentals: Rentals,
        moto: Any,
    ) -> None:
        self._world = world
        self._account = account
        self._keys = keys
        self._rentals = rentals
        self._moto = moto
        self._own = Answers(world, rentals).table()
        self._authority = Authority(account, rentals.tags)
        services = Services(world, account)
        self._json = services.json()
        self._xml = services.xml()
        self._identify = services.identity

    def answer(self, request: Request) -> Reply | None:
        """The answer, None when the connection is to be dropped without one."""
        signature = signing.read(request.headers)
        service = signature.service if signature else "ec2"
        protocol = PROTOCOLS.get(service, "json")
        facts: dict[str, str] = {"region": signature.region if signature else ""}
        op = ""
        try:
            who = self._authenticate(request, signature, protocol)
            assert signature is not None
            op, params = self._read(service, protocol, request)
            facts = _facts(op, params, signature.region, self._rentals)
            call = Call(service, signature.region, op, params, request, who)
        except Refusal as refused:
            self._world.judge(CLOUD, op or _named(request), facts)
            self._world.refused(CLOUD, op or _named(request), facts, refused.code, refused.message)
            return refusals.answer(protocol, refused)
        return self._judged(call, protocol, facts)

    def _judged(self, call: Call, protocol: str, facts: Mapping[str, str]) -> Reply | None:
        fault = self._world.judge(CLOUD, call.op, facts)
        kind = fault.error if fault else ""
        if kind == _NO_ANSWER:
            return None
        if fault and kind not in (_LOST, _IGNORE):
            if kind == "InsufficientInstanceCapacity" and facts.get("market") == "spot":
                kind = "InsufficientSpotCapacity"  # the same code, in other words
            words = self._words(call, facts)
            refused = refusal(call.service, kind, words, fault.message, fault.status)
            return refusals.answer(protocol, refused)
        try:
            self._authorize(call, facts)
            reply = self._ignored(call) if kind == _IGNORE else self._act(call, protocol)
        except Refusal as refused:
            if refused.code != "DryRunOperation":
                self._world.refused(CLOUD, call.op, facts, refused.code, refused.message)
            return refusals.answer(protocol, refused)
        return None if kind == _LOST else reply

    # --- understanding ----------------------------------------------------------------------

    def _authenticate(
        self, request: Request, signature: signing.Signature | None, protocol: str
    ) -> Identity:
        if signature is None:
            raise refusal("sts", "MissingAuthenticationToken", {})
        if signature.service not in PROTOCOLS:
            message = f"the service {signature.service} is not emulated"
            raise Refusal("NotEmulated", message, 501)
        who = self._keys.get(signature.key)
        if who is None or (protocol == "ec2" and not enabled(signature.region)):
            code = _UNKNOWN_KEY.get(protocol, "UnrecognizedClientException")
            raise refusal(signature.service, code, {})
        if signing.expired(request.headers, self._world.wall()):
            raise refusal(signature.service, "RequestExpired", {})
        told = (request.method, request.url, request.body)
        if not signing.good(signature, who.secret, told, request.headers):
            code = _WRONG_KEY.get(protocol, "InvalidSignatureException")
            raise refusal(signature.service, code, {})
        return who

    def _authorize(self, call: Call, facts: Mapping[str, str]) -> None:
        """Raise AWS's refusal of the first thing that the identity's policy does not allow."""
        if call.service == "ec2" and call.op not in self._own and call.op not in MOTO:
            raise _not_emulated(call)
        for asked in self._authority.asked(call.service, call.op, call.region, call.params):
            if not call.who.may(asked):
                service, _, op = asked.action.partition(":")
                told = refusals.encoded(asked.action, asked.resource)
                more = {"op": op, "resource": asked.resource, "encoded": told}
                raise refusal(service, refusals.DENY, {**self._words(call, facts), **more})

    def _read(self, service: str, protocol: str, request: Request) -> tuple[str, Mapping[str, Any]]:
        if protocol != "json":
            return schema.parse_form(service, request.body)
        model = MODELS.get(service, service)
        op = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if op not in schema.operations(model):
            raise Refusal("UnknownOperationException", op, 400)
        try:
            params = json.loads(request.body or b"{}")
        except ValueError as error:
            raise Refusal("SerializationException", str(error), 400) from None
        schema.check(schema.model(model).operation_model(op).input_shape, params)
        return op, params

    # --- answering --------------------------------------------------------------------------

    def _act(self, call: Call, protocol: str) -> Reply:
        if protocol == "ec2":
            return self._ec2(call)
        key = (call.service, call.op)
        answers = self._json if protocol == "json" else self._xml
        if key not in answers:
            raise _not_emulated(call)
        if call.op == "GetCallerIdentity":
            found = self._identify(call.who.arn)
        else:
            found = answers[key](call.region, call.params)
        request_id = str(uuid.uuid4())
        if protocol == "json":
            kind = "application/x-amz-json-1.1"
            return Reply(200, json.dumps(found).encode(), kind, request_id)
        body = (
            f"<{call.op}Response><{call.op}Result>{found}</{call.op}Result>"
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
            f"</{call.op}Response>"
        )
        return Reply(200, body.encode(), "text/xml", request_id)

    def _ec2(self, call: Call) -> Reply:
        if call.op not in self._own and call.op not in MOTO:
            raise _not_emulated(call)
        if call.params.get("DryRun"):
            raise refusal("ec2", "DryRunOperation", {})
        self._rentals.backend(call.region)
        if call.op in self._own:
            body = schema.render(call.op, self._own[call.op](call.region, call.params))
        else:
            body = self._ask_moto(call)
        wrong = schema.faults(call.op, body)
        if wrong:  # a mistake of ours, which no client may mistake for an answer
            _LOG.error("%s of the emulated AWS does not fit: %s", call.op, "; ".join(wrong))
            raise Refusal("EmulatorBug", "; ".join(wrong[:3]), 501)
        return Reply(200, body, "text/xml;charset=UTF-8", str(uuid.uuid4()))

    def _ask_moto(self, call: Call) -> bytes:
        headers = {
            "Authorization": call.request.headers["authorization"],
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-moto-account-id": self._account,
        }
        host = f"http://ec2.{call.region}.amazonaws.com"
        environ = create_environ("/", host, method="POST", data=call.request.body, headers=headers)
        with self._rentals.lock:
            if call.op == "RunInstances":
                self._rentals.admit(call.region, call.params)
            elif call.op in ("CreateTags", "DeleteTags"):  # moto tags whatever it is told to
                for one in call.params.get("Resources", ()):
                    if one.startswith("i-") and self._rentals.get(one) is None:
                        raise refusal("ec2", "InvalidInstanceID.NotFound", {"id": one})
            try:
                chunks, line, _ = run_wsgi_app(self._moto, environ, buffered=True)
            except NotImplementedError as error:
                raise Refusal("NotEmulated", f"{call.op}: {error}", 501) from error
            body = b"".join(chunks)
        status = int(line.split()[0])
        if status == 200:
            return body
        raise _moto_refusal(status, body)

    def _ignored(self, call: Call) -> Reply:
        """Say yes and do nothing: the end that never comes, the instance that never was."""
        data: dict[str, Any] = {}
        if call.op == "TerminateInstances":
            state = {"Code": 32, "Name": "shutting-down"}
            data["TerminatingInstances"] = [
                {"InstanceId": one, "CurrentState": state, "PreviousState": self._state(one)}
                for one in call.params.get("InstanceIds", ())
            ]
        elif call.op == "RunInstances":
            state = {"Code": 0, "Name": "pending"}
            own = f"i-{secrets.token_hex(8)}0"
            kind = call.params.get("InstanceType")
            data["Instances"] = [{"InstanceId": own, "State": state, "InstanceType": kind}]
        if PROTOCOLS[call.service] != "ec2":
            return self._act(call, PROTOCOLS[call.service])
        body = schema.render(call.op, data)
        return Reply(200, body, "text/xml;charset=UTF-8", str(uuid.uuid4()))

    def _state(self, id: str) -> dict[str, Any]:
        rented = self._rentals.get(id)
        if rented is None:
            raise refusal("ec2", "InvalidInstanceID.NotFound", {"id": id})
        state = rented.instance._state
        return {"Code": state.code, "Name": state.name}

    def _words(self, call: Call, facts: Mapping[str, str]) -> dict[str, str]:
        """What a refusal may speak of."""
        kind = {"RunInstances": "instance", "TerminateInstances": "instance"}.get(call.op, "")
        resource = f"arn:aws:ec2:{call.region}:{self._account}:{kind}/*" if kind else "*"
        return {
            **{name: value for name, value in facts.items() if value},
            "op": call.op,
            "user": call.who.arn,
            "resource": resource,
            "encoded": refusals.encoded(f"{call.service}:{call.op}", resource),
            "others": self._rentals.others(
                call.region, facts.get("type", ""), facts.get("zone", ""), False
            ),
            "limit": "0",
        }


def _facts(op: str, params: Mapping[str, Any], region: str, rentals: Rentals) -> dict[str, str]:
    """What a request is about, for the scenario."""
    facts = {"region": region}
    ids = params.get("InstanceIds") or [params.get("InstanceId", "")]
    if ids[0]:
        facts["id"] = ids[0]
    if op == "RunInstances":
        market = params.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        facts |= {"type": params.get("InstanceType", ""), "market": market}
        facts["zone"] = _zone(params, rentals.backend(region))
        facts["image"] = params.get("ImageId", "")
    elif name := params.get("Name") or params.get("GroupName") or params.get("RoleName"):
        facts["name"] = str(name)
    return {key: value for key, value in facts.items() if value}


def _zone(params: Mapping[str, Any], backend: Any) -> str:
    nics = params.get("NetworkInterfaces", ())
    subnet = params.get("SubnetId") or next((n["SubnetId"] for n in nics if "SubnetId" in n), "")
    for by_id in list(backend.subnets.values()):
        if subnet in by_id:
            return str(by_id[subnet].availability_zone)
    return str(params.get("Placement", {}).get("AvailabilityZone", ""))


def _named(request: Request) -> str:
    """The operation that a request names, even when it is refused unread."""
    target = request.headers.get("x-amz-target", "").rpartition(".")[2]
    return target or request.body.partition(b"&")[0].removeprefix(b"Action=").decode("latin-1")


def _not_emulated(call: Call) -> Refusal:
    return Refusal("NotEmulated", f"{call.service}:{call.op} is real, but not emulated", 501)


def _moto_refusal(status: int, body: bytes) -> Refusal:
    """moto's refusal, as ours."""
    root = ET.fromstring(body)  # noqa: S314 - moto's own text
    told = {_tag(one.tag): one.text or "" for one in root.iter()}
    return Refusal(told["Code"], told.get("Message", ""), status)


def _tag(name: str) -> str:
    return name.rpartition("}")[2]
