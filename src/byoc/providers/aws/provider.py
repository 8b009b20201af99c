"""The AWS provider: EC2 instances, on demand and spot, in every region of the account."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...clock import Clock
from ...errors import ProviderError
from ...pricing import catalog
from ...resources import Offer
from ...tasks import side_by_side
from .. import bootdata
from ..base import ANY, OWNER_TAG, Finding, Instance, LaunchRequest, Survey, Traits
from ..found import gone
from ..ingress import Ingress
from ..looking import Lookout
from ..recent import Recent
from ..tags import holds
from . import ids, launch, leftovers, quotas, states
from .check import Checker
from .clients import DENIED, Clients, refused
from .images import Image, Images
from .network import MANAGED_TAG, Network, Networks, not_yet, pairs
from .survey import survey

NOTICE = 120.0
"""Seconds between EC2's word that it takes a spot instance and the end of it."""
CONSOLE = 64 * 1024
"""Bytes of a machine's output that EC2 keeps, and that :meth:`AwsProvider.console` gives."""
LOOKS = 200
"""Ids that EC2 takes in one filter."""
REGIONS_AT_ONCE = 16
"""Regions asked side by side; an account has 17 unless it enables more."""
_GONE = ("InvalidInstanceID.", "InvalidInstanceId.")
_NO_GROUP = ("InvalidGroup.NotFound", "InvalidGroupId.")
_STALE = ("InvalidAMIID.", "InvalidSubnetID.", *_NO_GROUP)


class AwsProvider:
    """EC2. ``options``: ``profile``, ``endpoint``, ``image``, ``subnet``, ``security_group``,
    ``ssh_port``, ``ingress``; all may be absent. ``home`` and ``environ`` hold nothing of AWS's
    own credentials: boto3 finds those."""

    name = "aws"

    def __init__(
        self,
        home: Path,
        clock: Clock,
        environ: Mapping[str, str],
        options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._clock = clock
        self._port = int(options.get("ssh_port") or 22)
        self._subnet = options.get("subnet", "")
        self._clients = Clients(options.get("profile", ""), options.get("endpoint", ""))
        self._images = Images(self._clients, options.get("image", ""))
        ingress = Ingress(options.get("ingress", ""), environ, clock)
        group = options.get("security_group", "")
        self._makes_group = not group
        self._networks = Networks(self._clients, ingress, self._subnet, group, self._port)
        self._lock = threading.Lock()
        self._lookouts: dict[str, Lookout] = {}
        self._recent = Recent("EC2", clock)
        self._plain_spot = False

    @property
    def traits(self) -> Traits:
        """See :class:`byoc.providers.base.Traits`."""
        return Traits(
            end_command=(bootdata.END_COMMAND,),
            root=True,
            notice=NOTICE,
            notice_source="aws",
            regional=True,
            boot=45.0,
            origins=True,
        )

    def offers(self) -> builtins.list[Offer]:
        """What the catalogue says that EC2 sells, by region, type and market."""
        return catalog.offers("aws")

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        """Zones, quotas with what is used of them, and spot prices. Asks EC2 and Service Quotas."""
        return survey(self._clients, self._networks, self._clock, region, offers)

    def check(self) -> builtins.list[Finding]:
        """SDK, credentials, clock, network, images, permissions by dry run, GPU quotas, spot."""
        return Checker(self._clients, self._networks, self._images, self._clock).run()

    # --- launching ------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> Instance:
        """One RunInstances. A second one is sent only after a refusal that made nothing and that
        says what was wrong: something prepared earlier is gone, or EC2 does not take the shutdown
        behaviour of spot instances. Raises the class of EC2's refusal."""
        region = request.offer.region
        again = False
        while True:
            network, network_known = self._networks.prepare(region, request.tags.get(OWNER_TAG, ""))
            image, image_known = self._images.find(request.offer)
            if request.mesh:
                self._networks.connect(region, network.group)
            try:
                found = self._run(request, image, network)
                break
            except ProviderError as error:
                if self._makes_group and not network_known and refused(error, *_NO_GROUP):
                    raise not_yet(error) from error
                if again or not (network_known or image_known) or not refused(error, *_STALE):
                    raise
            again = True
            self._networks.forget(region)
            self._images.forget(region)
        return self._recent.add(states.instance(region, found, self._port))

    def _run(self, request: LaunchRequest, image: Image, network: Network) -> Mapping[str, Any]:
        region, chosen = request.offer.region, bool(self._subnet)
        spot = request.offer.market == "spot"
        bucket = quotas.bucket(request.offer.type, request.offer.market)
        if not (spot and self._plain_spot):
            body = launch.body(request, image, network, chosen)
            try:
                return self._clients.launch(region, bucket, **body)
            except ProviderError as error:
                if not (spot and _dislikes_end_behaviour(error)):
                    raise
            self._plain_spot = True
        body = launch.body(request, image, network, chosen, end_behaviour=False)
        return self._clients.launch(region, bucket, **body)

    # --- its firewalls --------------------------------------------------------------------------

    def gate(self, region: str) -> str:
        """See :class:`byoc.providers.gates.Gate`: a security group for each region."""
        return region

    def admit(self, region: str, owner: str) -> bool:
        """See :class:`byoc.providers.gates.Gate`."""
        return self._networks.admit(region, owner)

    # --- looking --------------------------------------------------------------------------------

    def get(self, instance_id: str) -> Instance:
        """The instance now. One that was launched a moment ago is pending even while EC2 does not
        know it yet."""
        ref = ids.parse(instance_id)
        if ref is None:
            return gone("aws", instance_id)
        if ref.kind != "instance":
            return leftovers.get(self._clients, ref)
        found = self._lookout(ref.region).look(ref.id)
        if found is not None:
            return states.instance(ref.region, found, self._port)
        return self._recent.get(instance_id) or gone("aws", instance_id)

    def _lookout(self, region: str) -> Lookout:
        def ask(wanted: Sequence[str]) -> Mapping[str, Any]:
            reservations = self._clients.pages(
                "ec2", region, "describe_instances", "Reservations",
                Filters=[{"Name": "instance-id", "Values": list(wanted)}],
            )  # fmt: skip
            return {one["InstanceId"]: one for r in reservations for one in r["Instances"]}

        with self._lock:
            return self._lookouts.setdefault(region, Lookout(ask, LOOKS))

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> builtins.list[Instance]:
        """What byoc made and carries all of ``tags``, region by region side by side."""
        where = list(regions) or self._regions()
        if not where:
            return []
        asked = [partial(self._list, region, tags, everything) for region in where]
        return [one for answer in side_by_side(asked, REGIONS_AT_ONCE) for one in answer]

    def _list(
        self, region: str, tags: Mapping[str, str], everything: bool
    ) -> builtins.list[Instance]:
        wanted = tag_filters({**tags, MANAGED_TAG: "1"})
        living = {"Name": "instance-state-name", "Values": builtins.list(states.LIVING)}
        try:
            reservations = self._clients.pages(
                "ec2", region, "describe_instances", "Reservations", Filters=[*wanted, living]
            )
            found = [
                states.instance(region, one, self._port)
                for reservation in reservations
                for one in reservation["Instances"]
            ]
            if everything:
                found += leftovers.find(self._clients, region, wanted)
            return [one for one in found if holds(one.tags, tags)]
        except ProviderError as error:
            if refused(error, "AuthFailure", "OptInRequired") and self._never_enabled(region):
                return []  # nothing of this account can be there
            raise

    def _regions(self) -> builtins.list[str]:
        """The regions that the account has enabled."""
        answer = self._clients.call("ec2", self._clients.region(), "describe_regions")
        return sorted(one["RegionName"] for one in answer["Regions"])

    def _never_enabled(self, region: str) -> bool:
        answer = self._clients.call(
            "ec2", self._clients.region(), "describe_regions", AllRegions=True,
            Filters=[{"Name": "region-name", "Values": [region]}],
        )["Regions"]  # fmt: skip
        return bool(answer) and answer[0].get("OptInStatus") == "not-opted-in"

    def console(self, instance_id: str) -> str:
        """The end of the machine's serial output. Newer types show it as it comes; of others EC2
        shows what it had a few minutes ago."""
        ref = ids.parse(instance_id)
        if ref is None or ref.kind != "instance":
            return ""
        for latest in (True, False):
            more = {"Latest": True} if latest else {}
            try:
                answer = self._clients.call(
                    "ec2", ref.region, "get_console_output", InstanceId=ref.id, **more
                )
            except ProviderError as error:
                if self._absent(error, instance_id):
                    return ""
                if latest and refused(error, "UnsupportedOperation"):
                    continue
                raise
            return str(answer.get("Output", ""))[-CONSOLE:]
        return ""

    # --- ending ---------------------------------------------------------------------------------

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """CreateTags, which replaces the values of these tags and leaves the others.

        Raises TransientError for an instance of ours that EC2 does not know yet.
        """
        ref = ids.parse(instance_id)
        if ref is None or ref.kind != "instance" or not tags:
            return
        try:
            self._clients.call(
                "ec2", ref.region, "create_tags", Resources=[ref.id], Tags=pairs(tags)
            )
        except ProviderError as error:
            self._unless_gone(error, instance_id)

    def terminate(self, instance_id: str) -> None:
        """TerminateInstances; for another kind its own Delete, of a firewall after its rules.
        Already gone is success.

        Raises TransientError for an instance of ours that EC2 does not know yet, so that it is
        asked for again and never left behind.
        """
        ref = ids.parse(instance_id)
        if ref is None:
            return  # nothing on AWS has such an id
        if ref.kind != "instance":
            if ref.kind == "firewall":  # it is opened again by the next launch
                self._networks.forget(ref.region)
            leftovers.delete(self._clients, ref)
            return
        try:
            self._clients.call("ec2", ref.region, "terminate_instances", InstanceIds=[ref.id])
        except ProviderError as error:
            self._unless_gone(error, instance_id)

    def _unless_gone(self, error: ProviderError, instance_id: str) -> None:
        """Raise a refusal again, unless it says that the instance is no more; as TransientError
        when it is one that EC2 does not know yet."""
        if not self._absent(error, instance_id):
            raise error
        self._recent.check(instance_id, error)

    def _absent(self, error: ProviderError, instance_id: str) -> bool:
        """Whether a refusal means that there is no such instance. A policy that looks at tags
        refuses what has none, and what is not there has none: then EC2 is asked whether it is."""
        if refused(error, *_GONE):
            return True
        ref = ids.parse(instance_id)
        if ref is None or not refused(error, *DENIED):
            return False
        return self._lookout(ref.region).look(ref.id) is None


def _dislikes_end_behaviour(error: ProviderError) -> bool:
    return refused(error, "InvalidParameterCombination") and ("shutdown" in error.message.lower())


def tag_filters(tags: Mapping[str, str]) -> builtins.list[dict[str, Any]]:
    """EC2's filters for things that carry all of these tags; in its values ``*`` and ``?`` have a
    meaning, which ours never do. Of tags that may have any value, EC2 takes one filter only."""
    keys = sorted(key for key, value in tags.items() if value == ANY)
    return [{"Name": "tag-key", "Values": [key]} for key in keys[:1]] + [
        {"Name": f"tag:{key}", "Values": [_literal(value)]}
        for key, value in sorted(tags.items())
        if value != ANY
    ]


def _literal(value: str) -> str:
    for special in ("\\", "*", "?"):
        value = value.replace(special, "\\" + special)
    return value
