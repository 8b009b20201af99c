"""The other services that byoc asks: who one is, the current images, quotas, the spot role."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from ..ports import World
from . import images, places, pricelist, quotas
from .refusals import Refusal, refusal

SPOT_ROLE = "AWSServiceRoleForEC2Spot"
_SPOT_SERVICE = "spot.amazonaws.com"
Params = Mapping[str, Any]
Service = Callable[[str, Params], Any]


class Services:
    """``account``: its number."""

    def __init__(self, world: World, account: str) -> None:
        self._world = world
        self._account = account

    def json(self) -> dict[tuple[str, str], Service]:
        """By (service, operation), answers of services that speak JSON."""
        return {
            ("ssm", "GetParameter"): self._parameter,
            ("servicequotas", "GetServiceQuota"): self._quota,
            ("servicequotas", "GetAWSDefaultServiceQuota"): self._default_quota,
            ("servicequotas", "ListServiceQuotas"): self._quotas,
            ("pricing", "GetProducts"): lambda region, params: pricelist.products(params),
        }

    def xml(self) -> dict[tuple[str, str], Service]:
        """By (service, operation), what is inside ``<...Result>`` of services that speak XML."""
        return {
            ("sts", "GetCallerIdentity"): lambda region, params: self.identity(""),
            ("sts", "DecodeAuthorizationMessage"): self._decoded,
            ("iam", "GetRole"): self._role,
            ("iam", "CreateServiceLinkedRole"): self._make_role,
        }

    # --- JSON ---------------------------------------------------------------------------------

    def _parameter(self, region: str, params: Params) -> dict[str, Any]:
        name = params["Name"]
        value = images.parameters(region).get(name)
        if value is None:
            raise refusal("ssm", "ParameterNotFound", {"name": name})
        parameter = {
            "Name": name,
            "Type": "String",
            "Value": value,
            "Version": 1,
            "LastModifiedDate": self._world.wall(),
            "ARN": f"arn:aws:ssm:{region}::parameter{name}",
            "DataType": "text",
        }
        return {"Parameter": parameter}

    def _quota(self, region: str, params: Params) -> dict[str, Any]:
        code = params["QuotaCode"]
        if params["ServiceCode"] != "ec2" or code not in quotas.BUCKETS:
            raise refusal("servicequotas", "NoSuchResourceException", {})
        return {"Quota": quotas.told(self._world, region, self._account, code)}

    def _default_quota(self, region: str, params: Params) -> dict[str, Any]:
        answer = self._quota(region, params)
        return {"Quota": {**answer["Quota"], "Value": 0.0}}

    def _quotas(self, region: str, params: Params) -> dict[str, Any]:
        if params["ServiceCode"] != "ec2":
            raise refusal("servicequotas", "NoSuchResourceException", {})
        told = [quotas.told(self._world, region, self._account, code) for code in quotas.BUCKETS]
        return {"Quotas": told}

    # --- XML ----------------------------------------------------------------------------------

    def identity(self, arn: str) -> str:
        """Who asks: GetCallerIdentity."""
        account = f"<Account>{self._account}</Account>"
        return f"<Arn>{arn}</Arn><UserId>AIDAEMULATED</UserId>{account}"

    def _decoded(self, region: str, params: Params) -> str:
        try:
            told = base64.urlsafe_b64decode(params["EncodedMessage"]).decode()
            json.loads(told)
        except (binascii.Error, ValueError):
            message = "Message is not valid"
            raise Refusal("InvalidAuthorizationMessageException", message, 400) from None
        return f"<DecodedMessage>{escape(told)}</DecodedMessage>"

    def _role(self, region: str, params: Params) -> str:
        if params["RoleName"] != SPOT_ROLE:
            raise refusal("iam", "NoSuchEntity", {"name": params["RoleName"]})
        return self._role_xml()

    def _make_role(self, region: str, params: Params) -> str:
        if params["AWSServiceName"] != _SPOT_SERVICE:
            raise Refusal("InvalidInput", "only the role for spot instances is emulated", 400)
        return self._role_xml()

    def _role_xml(self) -> str:
        path = f"/aws-service-role/{_SPOT_SERVICE}/"
        arn = f"arn:aws:iam::{self._account}:role{path}{SPOT_ROLE}"
        return (
            f"<Role><Path>{path}</Path><RoleName>{SPOT_ROLE}</RoleName>"
            f"<RoleId>AROAEMULATED</RoleId><Arn>{arn}</Arn>"
            f"<CreateDate>2026-01-01T00:00:00Z</CreateDate></Role>"
        )


def enabled(region: str) -> bool:
    """Whether the account's keys are good in a region."""
    return region in places.enabled()
