"""The identity service: who the tenancy is, where it is, what instances may do in it."""

from __future__ import annotations

from typing import Any

from ...pricing import catalog
from .account import Account
from .calls import Call, Handler, Page, narrowed
from .places import HOME, domains, key_of
from .refusals import Refusal, not_found
from .store import Store, ocid


class Identity:
    """Handlers of the identity service."""

    def __init__(self, store: Store, account: Account) -> None:
        self._store = store
        self._account = account
        self._domains = {
            name: ocid("availabilitydomain", region)
            for region in catalog.regions("oci")
            for name in domains(region)
        }

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {
            "list_availability_domains": self.availability_domains,
            "list_fault_domains": self.fault_domains,
            "list_regions": self.regions,
            "list_region_subscriptions": self.subscriptions,
            "get_tenancy": self.tenancy,
            "get_user": self.user,
            "get_compartment": self.compartment,
            "list_compartments": lambda call: Page([]),
            "list_dynamic_groups": self._lister("DynamicGroup"),
            "list_policies": self._lister("Policy"),
            "create_dynamic_group": self._creator("DynamicGroup"),
            "create_policy": self._creator("Policy"),
        }

    def availability_domains(self, call: Call) -> Page:
        """ListAvailabilityDomains of the region that was asked."""
        return Page(
            [
                {
                    "id": self._domains[name],
                    "name": name,
                    "compartmentId": call.asked("compartmentId"),
                }
                for name in domains(call.region)
            ]
        )

    def fault_domains(self, call: Call) -> Page:
        """ListFaultDomains: three to an availability domain."""
        where = {name: call.asked(name) for name in ("compartmentId", "availabilityDomain")}
        names = [f"FAULT-DOMAIN-{number}" for number in (1, 2, 3)]
        return Page([{**where, "id": f"ocid1.faultdomain.oc1..{n}", "name": n} for n in names])

    def regions(self, call: Call) -> Page:
        """ListRegions."""
        return Page([{"key": key_of(name), "name": name} for name in catalog.regions("oci")])

    def subscriptions(self, call: Call) -> Page:
        """ListRegionSubscriptions: all regions of the catalogue."""
        self._check_tenancy(call.path["tenancyId"])
        return Page(
            [
                {
                    "regionKey": key_of(name),
                    "regionName": name,
                    "status": "READY",
                    "isHomeRegion": name == HOME,
                }
                for name in catalog.regions("oci")
            ]
        )

    def tenancy(self, call: Call) -> dict[str, Any]:
        """GetTenancy."""
        self._check_tenancy(call.path["tenancyId"])
        return {"id": self._account.tenancy, "name": "emulated", "homeRegionKey": key_of(HOME)}

    def user(self, call: Call) -> dict[str, Any]:
        """GetUser: only the one there is."""
        if call.path["userId"] not in self._account.users:
            raise not_found("user")
        return {
            "id": call.path["userId"], "compartmentId": self._account.tenancy, "name": "byoc",
            "description": "the user of the emulated tenancy", "timeCreated": self._account.since,
            "lifecycleState": "ACTIVE", "isMfaActivated": False,
        }  # fmt: skip

    def compartment(self, call: Call) -> dict[str, Any]:
        """GetCompartment: the root one."""
        self._check_tenancy(call.path["compartmentId"])
        return {
            "id": self._account.tenancy, "compartmentId": self._account.tenancy,
            "name": "emulated", "description": "the root", "timeCreated": self._account.since,
            "lifecycleState": "ACTIVE",
        }  # fmt: skip

    def _check_tenancy(self, id: str) -> None:
        if id != self._account.tenancy:
            raise not_found("tenancy")

    def _lister(self, model: str) -> Handler:
        def listing(call: Call) -> Page:
            found = [one.body for one in self._store.every(model)]
            return Page(narrowed(found, call.filters()))

        return listing

    def _creator(self, model: str) -> Handler:
        def create(call: Call) -> dict[str, Any]:
            if call.region != HOME:
                raise Refusal(
                    403, "NotAllowed", f"Please go to your home region {key_of(HOME)} to do this."
                )
            return self._store.add(model, "", call.body, lifecycleState="ACTIVE").body

        return create
