"""The OCI provider: Compute instances, on demand and preemptible, virtual and bare metal."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...clock import Clock
from ...errors import (
    AccessError,
    BadRequestError,
    NotOfferedError,
    ProviderError,
    TokenError,
    TransientError,
)
from ...pricing import catalog
from ...resources import Offer
from ...tasks import side_by_side
from .. import bootdata
from ..base import OWNER_TAG, Finding, Instance, LaunchRequest, Survey, Traits
from ..found import gone
from ..ingress import Ingress, is_loopback
from ..looking import Lookout
from ..prepared import Zones
from ..recent import Recent
from ..table import restated
from ..tags import holds, rewritten
from . import console, ending, leftovers, states
from .check import Checker
from .clients import Account, answered, no_retry, pages
from .codes import ABSENT, CLOUD, translated
from .images import Image, Images
from .launch import details
from .looking import MOST, asking
from .network import Networks, Place, Wanted
from .survey import AT_ONCE, choose, survey

_CHANGED = "NoEtagMatch"
_ENDED = frozenset({"TERMINATING", "TERMINATED"})
_LAUNCH_HINT = "Let the user manage instance-family there; `byoc iam oci` prints the policy."
_GONE_HINT = "Check the settings oci.image and oci.subnet, or unset them."


class OciProvider:
    """OCI Compute. ``options``: ``profile``, ``config_file``, ``compartment``, ``endpoint``,
    ``image``, ``subnet``, ``ssh_port``, ``ingress``; all may be absent. ``home`` holds nothing of
    OCI's own credentials: its SDK finds those."""

    name = CLOUD

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
        self._public = options.get("public_address") != "false"
        self._account = Account(environ, options)
        self._images = Images(self._account, options.get("image", ""))
        self._networks = Networks(self._account, clock)
        self._ingress = Ingress(options.get("ingress", ""), environ, clock)
        self._lock = threading.Lock()
        self._recent = Recent("OCI", clock)
        self._zones = Zones()
        self._lookouts: dict[str, Lookout] = {}
        self._addresses: dict[str, states.Met] = {}

    @property
    def traits(self) -> Traits:
        """See :class:`byoc.providers.base.Traits`. A preemption's only notice is an event in the
        tenancy, which nothing on the machine can read."""
        return Traits(
            end_command=(bootdata.END_COMMAND,),
            root=True,
            self_end="billed",
            regional=True,
            boot=75.0,
            origins=True,
        )

    def offers(self) -> builtins.list[Offer]:
        """What the catalogue says that OCI sells, by region, type and market."""
        return catalog.offers(CLOUD)

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        """Availability domains, limits with what is used of them, and OCI's capacity report."""
        return survey(self._account, region, offers)

    def check(self) -> builtins.list[Finding]:
        """SDK, credentials, clock, what may be read, network, GPU limits, self-termination."""
        return Checker(self._account, self._clock, self._subnet, self._public).run()

    # --- launching ------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> Instance:
        """One LaunchInstance. Raises the class of OCI's refusal. OCI does not choose a domain: for
        an offer without one it is done here, once for each token."""
        self._account.require(request.offer.region)
        request = self._zones.placed(request, lambda: self._choose(request.offer))
        offer = request.offer
        image = self._images.find(offer)
        place = self._place(offer.region, request.tags.get(OWNER_TAG, ""), request.public)
        if request.mesh:
            self._networks.connect(offer.region, place)
        emulated = is_loopback(self._account.endpoint)
        boot_data = bootdata.compose(request, ending.script(emulated))
        body = details(request, self._account.compartment, image, place, boot_data)
        client = self._account.client("compute", offer.region)
        try:
            with translated():
                raw = client.launch_instance(
                    body, opc_retry_token=request.token, retry_strategy=no_retry()
                ).data
        except ProviderError as error:
            raise self._explained(error, offer, image, place) from error
        if raw.lifecycle_state in _ENDED:
            raise TokenError(
                f"the token stands for {raw.id}, which has ended", provider=CLOUD, scope="request"
            )
        return self._recent.add(states.instance(raw, offer.region))

    def _choose(self, offer: Offer) -> str:
        zone = choose(self._account, offer)
        if not zone:
            raise NotOfferedError(
                f"{offer.region} has no availability domain", provider=CLOUD, scope="region"
            )
        return zone

    def _place(self, region: str, owner: str, public: bool) -> Place:
        if self._subnet:
            return Place(self._subnet, ())
        if not public:
            raise BadRequestError(
                "an instance without a public address has to be in a subnet that the jump host "
                "reaches, and the network that byoc makes is none",
                provider=CLOUD,
                scope="cloud",
                hints=("Name a subnet of the jump host's network with the setting oci.subnet.",),
            )
        return self._networks.ensure(region, self._wanted(owner))

    def _wanted(self, owner: str, fresh: bool = False) -> Wanted:
        networks = self._ingress.networks(self._account.endpoint, fresh)
        return Wanted(owner, networks, self._port)

    def gate(self, region: str) -> str:
        """See :class:`byoc.providers.gates.Gate`: a network security group for each region."""
        return region

    def admit(self, region: str, owner: str) -> bool:
        """See :class:`byoc.providers.gates.Gate`. Rules of a subnet of the settings are the
        user's."""
        if self._subnet:
            return False
        return self._networks.admit(region, self._wanted(owner, fresh=True))

    def _explained(
        self, error: ProviderError, offer: Offer, image: Image, place: Place
    ) -> ProviderError:
        """A launch's 404 means a missing permission or a missing thing: it is asked which."""
        if error.vendor_code != ABSENT or not isinstance(error, AccessError):
            return error
        if not self._may_list(offer.region):
            return error  # not even that: a matter of permission, as it says
        self._images.forget()
        self._networks.forget()
        compute = self._account.client("compute", offer.region)
        network = self._account.client("network", offer.region)
        for what, ask in (
            (f"the image {image.name}", lambda: compute.get_image(image.id)),
            ("the subnet", lambda: network.get_subnet(place.subnet)),
        ):
            if answered(ask) is None:
                message = f"{what} is not there any more, or may not be used: {error.message}"
                return restated(error, BadRequestError, message, _GONE_HINT)
        for group in place.groups:
            if answered(partial(network.get_network_security_group, group)) is None:
                message = f"the firewall is not there any more: {error.message}"
                return restated(error, TransientError, message)  # the next try makes it again
        error.hints = (_LAUNCH_HINT,)
        return error

    def _may_list(self, region: str) -> bool:
        client = self._account.client("compute", region)
        ask = partial(client.list_instances, self._account.compartment, limit=1)
        return answered(ask) is not None

    # --- looking --------------------------------------------------------------------------------

    def get(self, instance_id: str) -> Instance:
        """The instance now, with its reason once it is gone. OCI answers alike for what is not
        there and for what may not be seen: told apart by whether instances can be listed."""
        word, region = self._parsed(instance_id)
        if word != "instance":
            found = leftovers.get(self._account, instance_id, word, region) if word else None
            return found or gone(CLOUD, instance_id, region)
        try:
            raw = self._lookout(region).look(instance_id)
        except ProviderError as error:
            if error.vendor_code == ABSENT and self._may_list(region):
                return self._recent.get(instance_id) or gone(CLOUD, instance_id, region)
            raise
        if raw.lifecycle_state == "TERMINATED":
            self._address(raw, region)  # to forget it
            return states.ended(self._account, raw, region)
        if raw.lifecycle_state == "TERMINATING" and raw.preemptible_instance_config:
            return states.ended(self._account, raw, region)  # reclaimed, or ended by somebody?
        return states.instance(raw, region, self._address(raw, region), self._port)

    def _lookout(self, region: str) -> Lookout:
        client = self._account.client("compute", region)

        def one(id: str) -> Any:
            with translated():
                return client.get_instance(id).data

        def many() -> dict[str, Any]:
            found = pages(client.list_instances, self._account.compartment)
            return {raw.id: raw for raw in found}

        with self._lock:
            return self._lookouts.setdefault(region, Lookout(asking(one, many), MOST))

    def _address(self, raw: Any, region: str) -> states.Met:
        """Where it is reached; asked for until it is known, since it does not change."""
        with self._lock:
            if raw.lifecycle_state not in states.ADDRESSED:
                self._addresses.pop(raw.id, None)
                return states.NOWHERE
            known = self._addresses.get(raw.id, states.NOWHERE)
        if not known.address:
            known = states.addresses(self._account, region, raw.id).get(raw.id, states.NOWHERE)
            with self._lock:
                self._addresses[raw.id] = known
        return known

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> builtins.list[Instance]:
        """Every instance of the compartment with these tags, in all regions that the tenancy is
        subscribed to: OCI has no filter on tags, so it is done here."""
        subscribed = self._account.regions()
        asked = [one for one in subscribed if not regions or one in regions]
        if not asked:
            return []
        works = [partial(self._list, region, tags, everything) for region in asked]
        return [one for some in side_by_side(works, AT_ONCE) for one in some]

    def _list(
        self, region: str, tags: Mapping[str, str], everything: bool
    ) -> builtins.list[Instance]:
        client = self._account.client("compute", region)
        raws = [
            raw
            for raw in pages(client.list_instances, self._account.compartment)
            if raw.lifecycle_state != "TERMINATED" and holds(raw.freeform_tags, tags)
        ]
        if len(raws) == 1:
            known = {raws[0].id: self._address(raws[0], region)}
        else:
            known = states.addresses(self._account, region) if raws else {}
        found = [
            states.instance(raw, region, known.get(raw.id, states.NOWHERE), self._port)
            for raw in raws
        ]
        return [*found, *leftovers.listing(self._account, region, tags)] if everything else found

    def console(self, instance_id: str) -> str:
        """The end of what the machine printed. OCI makes a copy on request, which is removed."""
        word, region = self._parsed(instance_id)
        if word != "instance":
            return ""
        return console.read(self._account.client("compute", region), instance_id, self._clock)

    # --- ending ---------------------------------------------------------------------------------

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """Tags are replaced as a whole: read, and written unless somebody has changed the instance
        in between; then read again."""
        word, region = self._parsed(instance_id)
        if word != "instance" or not tags:
            return
        try:
            rewritten(
                partial(self._mark, instance_id, region, tags),
                lambda error: error.vendor_code == _CHANGED,
            )
        except ProviderError as error:
            self._unless_gone(error, instance_id, region)

    def _mark(self, instance_id: str, region: str, tags: Mapping[str, str]) -> None:
        client = self._account.client("compute", region)
        with translated():
            known = client.get_instance(instance_id)
            if known.data.lifecycle_state in _ENDED:
                return
            wanted = {**(known.data.freeform_tags or {}), **tags}
            client.update_instance(
                instance_id, {"freeformTags": wanted}, if_match=known.headers["etag"]
            )

    def terminate(self, instance_id: str) -> None:
        """Terminate an instance with its boot volume, or remove what :meth:`list` showed of another
        kind; a network goes with all its parts."""
        word, region = self._parsed(instance_id)
        if not word:
            return
        if word != "instance":
            if word != leftovers.DISK:
                self._networks.forget()  # it is made or opened again by the next launch
            leftovers.remove(self._account, instance_id, word, region)
            return
        client = self._account.client("compute", region)
        try:
            with translated():
                client.terminate_instance(
                    instance_id,
                    preserve_boot_volume=False,
                    preserve_data_volumes_created_at_launch=False,
                )
        except ProviderError as error:
            self._unless_gone(error, instance_id, region)

    def _unless_gone(self, error: ProviderError, instance_id: str, region: str) -> None:
        """Raise a refusal again, unless it is a 404 that means that the instance is no more, and
        not that this may not be done; as TransientError when OCI does not show it yet."""
        if error.vendor_code != ABSENT:
            raise error
        found = answered(partial(self._account.client("compute", region).get_instance, instance_id))
        if found is None:
            self._recent.check(instance_id, error)
            ended = self._may_list(region)
        else:
            ended = found.data.lifecycle_state in _ENDED
        if not ended:
            raise error

    def _parsed(self, id: str) -> tuple[str, str]:
        """The kind and the region that an OCID tells; an empty kind for what is none of ours."""
        parts = id.split(".")
        if len(parts) < 5 or parts[0] != "ocid1":
            return "", ""
        word = parts[1]
        known = word == "instance" or leftovers.kind_of(word)
        return (word if known else ""), self._account.region_of(parts[3])
