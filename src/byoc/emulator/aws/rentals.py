"""The account's instances: what may be launched, how they live, and how they end."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import InstanceState, StateReason

from ...pricing import catalog
from ..firewalls import SSH_PORT, within
from ..ports import Events, Machine, World
from . import images, metadata, places, quotas, strict
from .refusals import Refusal, Words, refusal

CLOUD = "aws"
USER_DATA_LIMIT = 16 * 1024
"""Bytes of user data, decoded."""
ENDING = 0.3
"""Seconds between the end of a machine and the end of its instance; AWS takes half a minute."""
TERMINATED = "Client.UserInitiatedShutdown", "User initiated shutdown"
SHUT_DOWN = "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
TAKEN = "Server.SpotInstanceTermination", "Instance terminated due to a Spot interruption"
BROKEN = "Server.InternalError", "The host of the instance failed"
_ON = ("pending", "running")

Params = Mapping[str, Any]


class Admission(NamedTuple):
    """A launch that may be made. ``made``: the reservation, when the token was used before."""

    key: tuple[str, str, str] | None
    zone: str
    spot: bool
    made: Any = None


class Rented:
    """What is known of an instance beyond what moto keeps."""

    def __init__(self, instance: Any, spot: bool, address: str) -> None:
        self.instance = instance
        self.spot = spot
        self.address = address  # becomes visible when the world says so
        self.notice: Mapping[str, str] | None = None
        self.request = f"sir-{secrets.token_hex(4)}" if spot else ""
        self.request_tags: Mapping[str, str] = {}
        self.made = time.time()


class Rentals:
    """All instances of one account. Safe from any thread; ``lock`` guards moto's state as well."""

    def __init__(self, world: World, account: str) -> None:
        self.lock = threading.RLock()
        self._world = world
        self._account = account
        self._rented: dict[str, Rented] = {}
        self._digests: dict[tuple[str, str, str], str] = {}
        self._reservations: dict[tuple[str, str, str], Any] = {}
        self._admitted: Admission | None = None
        self._published: set[str] = set()

    def backend(self, region: str) -> Any:
        """moto's EC2 of a region, with the public images."""
        backend = ec2_backends[self._account][region]
        with self.lock:
            if region not in self._published:
                self._published.add(region)
                images.publish(backend)
        return backend

    def tags(self, region: str, id: str) -> Mapping[str, str]:
        """The tags of a thing of any kind, none of one that there is not."""
        with self.lock:
            return dict(self.backend(region).tags.get(id, {}))

    def every(self) -> list[Rented]:
        """All instances that ever were, oldest first."""
        with self.lock:
            return list(self._rented.values())

    # --- launching --------------------------------------------------------------------------

    def admit(self, region: str, params: Params) -> None:
        """Decides whether a RunInstances may be made; moto's call must follow under the same lock.

        Raises Refusal as EC2 does.
        """
        self._admitted = None
        kind = params.get("InstanceType", "m1.small")
        market = params.get("InstanceMarketOptions", {}).get("MarketType", "")
        if market not in ("", "spot") or params["MaxCount"] != 1:
            raise Refusal(
                "NotEmulated", "only single on-demand and spot launches are emulated", 501
            )
        spot = market == "spot"
        zone = self._checked(region, params, kind)
        others = self.others(region, kind, zone, spot)
        words = {"type": kind, "zone": zone or region, "others": others}
        key = None
        if token := params.get("ClientToken", ""):
            key = (region, token, zone)
            if (made := self._repeat(key, params)) is not None:
                self._admitted = Admission(key, zone, spot, made)
                return
        zones = places.sold(region).get(kind, ())
        if zone and zone not in zones:
            raise refusal("ec2", "Unsupported", words)
        self._check_quota(region, kind, spot)
        for candidate in (zone,) if zone else zones:
            if self._world.room(CLOUD, candidate, kind, "spot" if spot else "on-demand"):
                self._admitted = Admission(key, candidate, spot)
                return
        code = "InsufficientSpotCapacity" if spot else "InsufficientInstanceCapacity"
        raise refusal("ec2", code, words)

    def _repeat(self, key: tuple[str, str, str], params: Params) -> Any:
        """The reservation of a token that was used before, None for a new one.

        EC2 remembers a token with its parameters even when the launch failed, by zone when the
        request names one.
        """
        digest = hashlib.sha256(json.dumps(params, default=str, sort_keys=True).encode())
        if self._digests.setdefault(key, digest.hexdigest()) != digest.hexdigest():
            raise refusal("ec2", "IdempotentParameterMismatch", {})
        made = self._reservations.get(key)
        if made is not None and all(i.state == "terminated" for i in made.instances):
            raise refusal("ec2", "IdempotentInstanceTerminated", {})
        return made

    def _checked(self, region: str, params: Params, kind: str) -> str:
        """The zone that the parameters name, after all of them were found right."""
        backend = self.backend(region)
        image = backend.amis.get(params.get("ImageId", ""))
        if image is None:
            words = {"id": params.get("ImageId", "")}
            raise refusal("ec2", "InvalidAMIID.NotFound", words)
        hardware = places.hardware(kind)
        if hardware is None or kind not in places.sold(region):
            raise _invalid(f"Invalid value '{kind}' for InstanceType.")
        archs = hardware.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
        if image.architecture not in archs:
            raise _invalid(
                f"The architecture '{'/'.join(archs)}' of the specified instance type does not"
                f" match the architecture '{image.architecture}' of the specified AMI."
            )
        _check_user_data(params.get("UserData"))
        _check_root(params, image)
        return _zone(backend, params)

    def _check_quota(self, region: str, kind: str, spot: bool) -> None:
        code = quotas.bucket(kind, spot)
        limit = quotas.limit(self._world, region, code)
        if self.used(region, code) + places.vcpus(kind) > limit:
            refused = "MaxSpotInstanceCountExceeded" if spot else "VcpuLimitExceeded"
            raise refusal("ec2", refused, {"limit": f"{limit:g}"})

    def used(self, region: str, code: str) -> int:
        """vCPUs that count in a quota now."""
        return sum(
            places.vcpus(one.instance.instance_type)
            for one in self.every()
            if one.instance.region_name == region
            and one.instance.state in _ON
            and quotas.bucket(one.instance.instance_type, one.spot) == code
        )

    def others(self, region: str, kind: str, zone: str, spot: bool) -> str:
        """The zones that EC2 would recommend instead: those that have it now."""
        market = "spot" if spot else "on-demand"
        have = [
            one
            for one in places.sold(region).get(kind, ())
            if one != zone and self._world.spare(CLOUD, one, kind, market) != 0
        ]
        return ", ".join(have) or "another"

    def run(
        self, backend: Any, run: strict.Run, image: str, count: int, rest: Any, more: Any
    ) -> Any:
        """See :class:`byoc.emulator.aws.strict.Rules`; :meth:`admit` came before."""
        admitted = self._admitted
        assert admitted is not None, "RunInstances reached moto without being admitted"
        if admitted.made is not None:
            return admitted.made
        tags = more.get("tags", {})
        if not more.get("subnet_id") and not more.get("nics"):
            more["placement"] = admitted.zone  # EC2 chooses when nobody does
        reservation = run(backend, image, count, *rest, **more)
        if admitted.key is not None:
            self._reservations[admitted.key] = reservation
        for instance in reservation.instances:
            self._adopt(instance, admitted.spot, tags)
        return reservation

    def _adopt(self, instance: Any, spot: bool, tags: Mapping[str, Mapping[str, str]]) -> None:
        """Make moto's instance, which runs at once, one that boots."""
        nic = instance.nics[0]
        nic.add_tags(tags.get("network-interface", {}))
        public = bool(nic.public_ip) or nic.public_ip_auto_assign
        nic.public_ip = None
        rented = Rented(instance, spot, self._world.address(CLOUD) if public else "")
        rented.request_tags = tags.get("spot-instances-request", {})
        instance.security_groups = list(nic.group_set)
        instance.cpu_options = places.cpu_options(instance.instance_type)
        instance.spot_instance_request_id = rented.request or None
        instance.lifecycle = "spot" if spot else None
        instance._state = InstanceState("pending", 0)
        self._rented[instance.id] = rented
        facts = {
            "region": instance.region_name,
            "zone": instance.availability_zone,
            "type": instance.instance_type,
            "market": "spot" if spot else "on-demand",
            "name": instance.id,
            "id": instance.id,
        }
        self._world.made(CLOUD, instance.id, facts)
        self._world.power_on(
            self._machine(rented, facts),
            Events(
                up=lambda: self._up(rented),
                off=lambda reason: self._off(rented, reason),
            ),
        )

    def _machine(self, rented: Rented, facts: Words) -> Machine:
        instance = rented.instance
        kind = catalog.spec(CLOUD, instance.instance_type)
        data = instance.user_data
        required = instance.metadata_options.http_tokens == "required"
        return Machine(
            cloud=CLOUD,
            id=instance.id,
            name=instance.id,
            region=facts["region"],
            zone=facts["zone"],
            type=instance.instance_type,
            market=facts["market"],
            address=rented.address,
            user_data=data.decode() if data else "",
            metadata=metadata.Imds(lambda: self._told(rented), required),
            gpu=kind.gpu if kind else "",
            gpu_count=kind.gpu_count if kind else 0,
            inside=instance.private_ip or "",
        )

    def _told(self, rented: Rented) -> metadata.Tree:
        with self.lock:
            return metadata.tree(rented.instance, self._account, rented.address, rented.notice)

    # --- living and ending --------------------------------------------------------------------

    def _up(self, rented: Rented) -> None:
        with self.lock:
            if rented.instance.state != "pending":
                return
            rented.instance._state = InstanceState("running", 16)
        self._world.billing(CLOUD, rented.instance.id, True)

    def _off(self, rented: Rented, reason: str) -> None:
        """The machine is off by itself. A broken host is told of a while later, as an end."""
        stays = rented.instance.instance_initiated_shutdown_behavior == "stop" and not rented.spot
        if reason == "crash":
            self._end(rented, BROKEN)
        elif stays:
            self._world.billing(CLOUD, rented.instance.id, False)
            with self.lock:
                rented.instance._state = InstanceState("stopped", 80)
                rented.instance.state_reason = StateReason(_words(SHUT_DOWN), SHUT_DOWN[0])
        else:
            self._end(rented, SHUT_DOWN)

    def ended(self, instance: Any) -> InstanceState:
        """See :class:`byoc.emulator.aws.strict.Rules`."""
        return self._end(self._rented[instance.id], TERMINATED)

    def _end(self, rented: Rented, reason: tuple[str, str]) -> InstanceState:
        instance = rented.instance
        with self.lock:
            before = InstanceState(instance._state.name, instance._state.code)
            if before.name in ("shutting-down", "terminated"):
                return before
            instance._state = InstanceState("shutting-down", 32)
            instance.state_reason = StateReason(_words(reason), reason[0])
        self._world.billing(CLOUD, instance.id, False)
        self._world.power_off(CLOUD, instance.id)
        self._world.later(ENDING, lambda: self._gone(rented, reason))
        return before

    def _gone(self, rented: Rented, reason: tuple[str, str]) -> None:
        instance = rented.instance
        self._world.gone(CLOUD, instance.id)
        with self.lock:
            for nic in instance.nics.values():
                nic.public_ip = None
                nic.public_ip_auto_assign = False  # else moto gives it another one
                instance.ec2_backend.enis.pop(nic.id, None)
            instance.teardown_defaults()
            instance._state = InstanceState("terminated", 48)
            if reason is TERMINATED:
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self._world.wall()))
                instance._reason = f"User initiated ({when} GMT)"
            else:
                instance._reason = _words(reason)

    def preempt(self, id: str, notice: float) -> None:
        """Take an instance away; its metadata service says so ``notice`` seconds before."""
        rented = self._rented[id]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._world.wall() + notice))
        with self.lock:
            rented.notice = {"action": "terminate", "time": when}
        self._world.later(notice, lambda: self._take(rented))

    def _take(self, rented: Rented) -> None:
        self._end(rented, TAKEN)

    # --- looking --------------------------------------------------------------------------------

    def visible(self, instance: Any) -> bool:
        """See :class:`byoc.emulator.aws.strict.Rules`."""
        rented = self._rented.get(instance.id)
        if rented is None:
            return True
        nic = instance.nics[0]
        waits = instance.state == "running" and rented.address and not nic.public_ip
        if waits and self._world.address_known(CLOUD, instance.id):
            nic.public_ip = rented.address
        return not self._world.hidden(CLOUD, instance.id)

    def held(self, group: str) -> bool:
        """See :class:`byoc.emulator.aws.strict.Rules`."""
        return any(
            group in [one.id for one in nic.group_set]
            for rented in self.every()
            if rented.instance.state != "terminated"
            for nic in rented.instance.nics.values()
        )

    def lets_in(self, source: str, target: str) -> bool:
        """Whether a group of the second instance lets in, on every port, one of the first's."""
        with self.lock:
            one, other = self._rented.get(source), self._rented.get(target)
            if one is None or other is None:
                return False
            mine = {group.id for nic in one.instance.nics.values() for group in nic.group_set}
            return any(
                rule.ip_protocol == "-1" and rule.source_group.get("GroupId") in mine
                for nic in other.instance.nics.values()
                for group in nic.group_set
                for rule in group.ingress_rules
            )

    def admits(self, source: str, target: str) -> bool:
        """Whether a group of an instance lets this address reach its SSH port."""
        with self.lock:
            rented = self._rented.get(target)
            if rented is None:
                return False
            groups = [one for nic in rented.instance.nics.values() for one in nic.group_set]
            rules = [rule for group in groups for rule in group.ingress_rules]
        return any(
            rule.ip_protocol == "-1"
            or (rule.ip_protocol == "tcp" and int(rule.from_port) <= SSH_PORT <= int(rule.to_port))
            for rule in rules
            if (network := (rule.ip_range or {}).get("CidrIp")) and within(source, [network])
        )

    def leftovers(self) -> list[dict[str, str]]:
        """What would be billed besides instances: ``kind``, ``id`` and ``region``."""
        found: list[dict[str, str]] = []
        with self.lock:
            for region, backend in ec2_backends[self._account].items():
                volumes = [one for one in backend.volumes.values() if one.status == "available"]
                free = [one for one in backend.addresses if not one.association_id]
                for kind, things in (
                    ("disk", [one.id for one in volumes]),
                    ("address", [str(one.allocation_id) for one in free]),
                ):
                    found += [{"kind": kind, "id": one, "region": region} for one in things]
        return found

    def get(self, id: str) -> Rented | None:
        """An instance that lists show, or None."""
        with self.lock:
            rented = self._rented.get(id)
            return rented if rented and not self._world.hidden(CLOUD, id) else None


def _words(reason: tuple[str, str]) -> str:
    return f"{reason[0]}: {reason[1]}"


def _invalid(message: str) -> Refusal:
    return Refusal("InvalidParameterValue", message, 400)


def _check_user_data(encoded: str | None) -> None:
    if encoded is None:
        return
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except binascii.Error:
        message = "Invalid BASE64 encoding of user data."
        raise Refusal("InvalidUserData.Malformed", message, 400) from None
    if size > USER_DATA_LIMIT:
        raise _invalid(f"User data is limited to {USER_DATA_LIMIT} bytes")


def _check_root(params: Params, image: Any) -> None:
    size = getattr(image, "size", 8)
    for one in params.get("BlockDeviceMappings", ()):
        asked = one.get("Ebs", {}).get("VolumeSize", size)
        if one.get("DeviceName") == image.root_device_name and asked < size:
            raise Refusal(
                "InvalidBlockDeviceMapping",
                f"Volume of size {asked}GB is smaller than snapshot '{image.ebs_snapshot.id}',"
                f" expect size >= {size}GB",
                400,
            )


def _zone(backend: Any, params: Params) -> str:
    """The zone of the subnet or placement that a launch names; its groups must exist."""
    nics = params.get("NetworkInterfaces", ())
    groups = [*params.get("SecurityGroupIds", ())]
    if nics and (groups or params.get("SubnetId")):
        raise Refusal(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID or security groups may not be"
            " specified on the same request",
            400,
        )
    for group in [*groups, *(one for nic in nics for one in nic.get("Groups", ()))]:
        if backend.get_security_group_from_id(group) is None:
            raise refusal("ec2", "InvalidGroup.NotFound", {"id": group})
    subnet = params.get("SubnetId") or next((n["SubnetId"] for n in nics if "SubnetId" in n), "")
    if not subnet:
        zone: str = params.get("Placement", {}).get("AvailabilityZone", "")
        return zone
    for by_zone in list(backend.subnets.values()):
        if subnet in by_zone:
            return str(by_zone[subnet].availability_zone)
    raise refusal("ec2", "InvalidSubnetID.NotFound", {"id": subnet})
