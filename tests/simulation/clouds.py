"""Three clouds, each with its real habits, stricter than the real ones.

What they answer is the vendor's own code and status, read by the production tables; what their
lists show is what an account would see: late, with ghosts, sometimes not all of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from byoc.errors import AccessError, ProviderError, TransientError
from byoc.providers.aws.codes import ROWS as AWS
from byoc.providers.base import ANY, OWNER_TAG, TOKEN_TAG, Instance, LaunchRequest
from byoc.providers.gcp.codes import ROWS as GCP
from byoc.providers.oci.codes import ROWS as OCI
from byoc.providers.table import Answer, classify
from byoc.resources import Offer

from .faults import Knobs
from .machines import Machine
from .world import EPOCH, World

if TYPE_CHECKING:
    from .laptop import Laptop
    from .reaping import Place

CALL_TIMEOUT = 20.0
"""Seconds after which a client takes a request for lost."""
TOKEN_LIFE = 24 * 3600.0
"""How long a cloud remembers a launch token."""

Reply = Callable[[Any, ProviderError | None], None]


class Vendor(NamedTuple):
    """What a vendor answers. ``(code, message, status)``."""

    rows: Any
    full: tuple[str, str, int]
    throttled: tuple[str, str, int]
    broken: tuple[str, str, int]
    denied: tuple[str, str, int]
    quota: tuple[str, str, int]
    mismatch: tuple[str, str, int]
    ended: tuple[str, str, int]


VENDORS = {
    "aws": Vendor(
        AWS,
        ("InsufficientInstanceCapacity", "We currently do not have sufficient capacity", 500),
        ("RequestLimitExceeded", "Request limit exceeded.", 503),
        ("InternalError", "An internal error has occurred", 500),
        ("UnauthorizedOperation", "You are not authorized", 403),
        ("VcpuLimitExceeded", "You have requested more vCPU capacity than your limit", 400),
        ("IdempotentParameterMismatch", "The client token was used with other parameters", 400),
        ("IdempotentInstanceTerminated", "The instance with this token was terminated", 400),
    ),
    "gcp": Vendor(
        GCP,
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources", 503),
        ("rateLimitExceeded", "Rate Limit Exceeded", 403),
        ("backendError", "Backend Error", 503),
        ("forbidden", "Required 'compute.instances.create' permission", 403),
        ("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded. Limit: 4.0", 403),
        ("alreadyExists", "The resource already exists", 409),
        ("RESOURCE_NOT_READY", "The resource is not ready", 400),
    ),
    "oci": Vendor(
        OCI,
        ("InternalError", "Out of host capacity.", 500),
        ("TooManyRequests", "Too many requests for the user", 429),
        ("InternalError", "An internal error occurred", 500),
        ("NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.", 404),
        ("LimitExceeded", "The following service limits were exceeded: standard-core-count", 400),
        ("InvalidatedRetryToken", "The retry token was used with other parameters", 409),
        ("InvalidatedRetryToken", "The resource of this token has been deleted", 409),
    ),
}


@functools.cache
def refusal(cloud: str, kind: str) -> ProviderError:
    """What the production table makes of a vendor's answer."""
    vendor = VENDORS[cloud]
    code, message, status = getattr(vendor, kind)
    return classify(cloud, vendor.rows, Answer(code, message, status, "req-1"))


@dataclass
class Nets:
    """The safety nets that an ablation switches off, one by one."""

    deadman: bool = True
    sweep: bool = True
    reaper: bool = True
    ttl: bool = True


class Habit(NamedTuple):
    """What differs between clouds. ``by_name``: a name that is in use is refused, one that was
    deleted may be used again; else tokens are remembered. ``notice``: seconds of warning."""

    by_name: bool
    notice: float
    ttl: bool
    self_end: str
    price: float


HABITS = {
    "aws": Habit(False, 120.0, False, "gone", 0.10),
    "gcp": Habit(True, 30.0, True, "stopped", 0.11),
    "oci": Habit(False, 0.0, False, "billed", 0.09),
}
BUCKET_RATE, BUCKET_SIZE = 2.0, 10.0
"""Launch requests a second that each account has at each cloud, and how many at once."""


class Cloud:
    """One account at one cloud."""

    def __init__(self, world: World, name: str, knobs: Knobs, nets: Nets) -> None:
        self.world, self.name, self.knobs, self.nets = world, name, knobs, nets
        self.habit = HABITS[name]
        self.machines: dict[str, Machine] = {}
        self.alive: dict[str, Machine] = {}
        self.tokens: dict[tuple[str, ...], Machine] = {}
        self.full: set[str] = set()
        self.down = self.shut = self.busy = False
        self.calls = {"launch": 0, "get": 0, "list": 0, "terminate": 0, "mark": 0}
        self.refused_full = 0
        self.watchers: list[Callable[[Machine, str, Any], None]] = []
        self.self_end = self.habit.self_end
        self._tokens, self._filled = BUCKET_SIZE, 0.0
        self.zones = ("a", "b")
        world.again_and_again(knobs.short, self._flip)
        world.again_and_again(knobs.api_down, self._go_down)
        world.again_and_again(knobs.denied, self._deny)
        world.again_and_again(knobs.storm, self._storm)

    def offers(self) -> list[Offer]:
        """What it sells: each zone, both markets."""
        return [
            Offer(self.name, "r1", zone, "m", market, self.habit.price * share, 4.0, 8192)
            for zone in self.zones
            for market, share in (("on-demand", 1.0), ("spot", 0.4))
        ]

    # -- weather ------------------------------------------------------------------------------

    def heal(self) -> None:
        """All faults are over."""
        self.full.clear()
        self.down = self.shut = self.busy = False

    def _flip(self) -> None:
        self.full ^= {self.world.rng.choice(self.zones)}

    def _go_down(self) -> None:
        self.world.mark("fault:api_down")
        self.down = True
        self.world.after(self.world.rng.uniform(10, 300), self._come_up)

    def _come_up(self) -> None:
        self.down = False

    def _storm(self) -> None:
        """Everything is too much for a while: others use the account as well."""
        self.world.mark("fault:storm")
        self.busy = True
        self.world.after(self.world.rng.uniform(20, 120), self._calm)

    def _calm(self) -> None:
        self.busy = False

    def _deny(self) -> None:
        self.shut = True
        self.world.after(self.world.rng.uniform(10, 300), self._allow)

    def _allow(self) -> None:
        self.shut = False

    # -- the API ------------------------------------------------------------------------------

    def ask(self, who: Laptop | Place, op: str, reply: Reply, *args: Any) -> None:
        """A request on its way; ``reply`` is called once, with what came or with the error."""
        world, knobs = self.world, self.knobs
        self.calls[op] += 1
        open_ = [True]

        def settle(found: Any, error: ProviderError | None) -> None:
            if open_[0]:
                open_[0] = False
                reply(found, error)

        world.after(CALL_TIMEOUT, settle, None, _TIMEOUT)
        if who.offline or world.chance(knobs.lose_request):
            world.mark("fault:lose_request")
            return
        slow = 10.0 if world.chance(knobs.slow) else 1.0
        world.after(world.rng.uniform(0.05, 1.0) * slow, self._land, who, op, settle, args)
        if world.chance(knobs.duplicate):
            world.mark("fault:duplicate")
            world.after(world.rng.uniform(0.05, 20.0), self._land, who, op, settle, args)

    def _land(self, who: Laptop | Place, op: str, settle: Reply, args: tuple[Any, ...]) -> None:
        world, knobs = self.world, self.knobs
        found, error = None, self._weather()
        if error is None:
            try:
                found = getattr(self, "_" + op)(who, *args)
            except ProviderError as refused:
                error = refused
            else:
                if world.chance(knobs.error_acted):
                    world.mark("fault:error_acted")
                    found, error = None, refusal(self.name, "broken")
        if world.chance(knobs.lose_reply):
            world.mark("fault:lose_reply")
            return
        slow = 10.0 if world.chance(knobs.slow) else 1.0
        world.after(world.rng.uniform(0.05, 1.0) * slow, settle, found, error)

    def _weather(self) -> ProviderError | None:
        """What stops a request before it is looked at."""
        world, knobs = self.world, self.knobs
        if self.down:
            return refusal(self.name, "broken")
        if self.shut:
            world.mark("fault:denied")
            return _DENIED
        if self.busy or world.chance(knobs.throttle):
            world.mark("fault:throttle")
            return refusal(self.name, "throttled")
        if world.chance(knobs.error):
            world.mark("fault:error")
            return refusal(self.name, "broken")
        return None

    def _launch(self, who: Laptop | Place, request: LaunchRequest) -> Instance:
        self._take_token()
        zone = request.offer.zone
        key = (zone, request.token) if self.habit.by_name else (request.token,)
        known = self.tokens.get(key)
        if known is not None and (again := self._again(known, request)):
            return again
        if zone in self.full:
            self.world.mark("fault:short")
            self.refused_full += 1
            raise refusal(self.name, "full")
        if self.knobs.quota and not self.world.healed and len(self.living()) >= self.knobs.quota:
            self.world.mark("fault:quota")
            raise refusal(self.name, "quota")
        return self.show(self._make(request, key))

    def _take_token(self) -> None:
        now = self.world.now
        self._tokens = min(BUCKET_SIZE, self._tokens + (now - self._filled) * BUCKET_RATE)
        self._filled = now
        if self._tokens < 1:
            self.world.mark("bucket-empty")
            raise refusal(self.name, "throttled")
        self._tokens -= 1

    def _again(self, known: Machine, request: LaunchRequest) -> Instance | None:
        """A token that was used: the same machine, or why not; None when it may be used anew."""
        if self.habit.by_name:
            return self.show(known) if known.alive else None
        if known.alive and known.offer != request.offer:
            raise refusal(self.name, "mismatch")
        if not known.alive:
            self.world.mark("token-of-ended")
            raise refusal(self.name, "ended")
        return self.show(known)

    def _make(self, request: LaunchRequest, key: tuple[str, ...]) -> Machine:
        world, knobs = self.world, self.knobs
        origin = request.token[:20] if self.habit.by_name else request.token
        one = self.place(request.offer, dict(request.tags), origin)
        self.tokens[key] = one
        one.visible = world.now + (0 if world.healed else world.rng.uniform(0, knobs.list_lag))
        one.stays = self.self_end != "gone" and not knobs.mortal
        if world.chance(knobs.no_boot):
            world.mark("fault:no_boot")
            one.boots = False
        one.full_disk = world.chance(knobs.disk_full)
        if world.chance(knobs.fails_after):
            world.mark("fault:fails_after")
            one.failure = "cannot be made"
            world.after(world.rng.uniform(2, 40), one.go, "the cloud could not make it")
        if world.chance(knobs.killed_at_birth):
            world.mark("fault:killed_at_birth")
            world.after(world.rng.uniform(1, 30), one.go, "killed")
        world.after(world.rng.uniform(15, 60), one.power, request.boot_lease)
        if self.habit.ttl and self.nets.ttl and request.lifetime:
            world.after(request.lifetime, self._expire, one)
        if knobs.spot and request.offer.market == "spot":
            world.after(world.rng.expovariate(1 / knobs.spot), one.take_away, self.habit.notice)
        for watcher in self.watchers:
            watcher(one, "made", request)
        return one

    def place(self, offer: Offer, tags: dict[str, str], origin: str) -> Machine:
        """Put a machine there."""
        one = Machine(self.world, self, len(self.machines), offer)
        one.tags, one.origin, one.token = tags, origin, tags.get(TOKEN_TAG, "")
        one.owner = tags.get(OWNER_TAG, "")
        self.machines[one.id] = self.alive[one.id] = one
        one.say("LAUNCH", one.token[:8], offer.zone, offer.market)
        return one

    def _expire(self, one: Machine) -> None:
        if one.state in ("pending", "running"):  # the timer is cleared when a machine stops
            self.world.mark("ttl")
            one.begin_to_end(5.0, "its cloud's time limit")

    def _get(self, who: Laptop | Place, instance_id: str) -> Instance:
        one = self.machines.get(instance_id)
        if one is None or one.visible > self.world.now:
            return Instance(self.name, instance_id, "gone", _NOTHING, {})
        return self.show(one)

    def _terminate(self, who: Laptop | Place, instance_id: str) -> None:
        world, knobs = self.world, self.knobs
        one = self.machines.get(instance_id)
        if one is None or not one.alive:
            return
        if one.visible > world.now:
            world.mark("fault:not_visible")
            raise TransientError("it is not known yet", provider=self.name, scope="request")
        for watcher in self.watchers:
            watcher(one, "terminate", who)
        if world.chance(knobs.deaf):
            world.mark("fault:deaf")
            return
        slow = 20.0 if world.chance(knobs.slow_end) else 1.0
        one.begin_to_end(world.rng.uniform(1, 20) * slow, "terminated")

    def _mark(self, who: Laptop | Place, instance_id: str, tags: Mapping[str, str]) -> None:
        one = self.machines.get(instance_id)
        if one is not None and one.alive and one.visible <= self.world.now:
            one.tags.update(tags)

    def _list(self, who: Laptop | Place, tags: Mapping[str, str]) -> list[Instance]:
        world, knobs = self.world, self.knobs
        found = []
        now, ghost = world.now, 0.0 if world.healed else knobs.ghost
        if ghost:
            self._bury(now - ghost)
        for one in list(self.alive.values()):
            if not one.alive:
                if not ghost:
                    del self.alive[one.id]
                    continue
                world.mark("fault:ghost")
            if one.visible > now or not _wears(one.tags, tags):
                continue
            if world.chance(knobs.partial):
                world.mark("fault:partial")
                continue
            found.append(self.show(one, ghost=not one.alive))
        if found and world.chance(knobs.empty):
            world.mark("fault:empty")
            return []
        return found

    def _bury(self, before: float) -> None:
        for one in list(self.alive.values()):
            if not one.alive and one.ended < before:
                del self.alive[one.id]

    def living(self) -> list[Machine]:
        """The machines that cost money."""
        return [one for one in self.alive.values() if one.alive]

    def show(self, one: Machine, *, ghost: bool = False) -> Instance:
        """A machine as its owner sees it."""
        state = "running" if ghost else "ending" if one.state == "stopped" else one.state
        failure = refusal(self.name, "full") if one.failure and state == "gone" else None
        running = state == "running"
        return Instance(
            provider=self.name,
            id=one.id,
            state=state,
            offer=one.offer,
            tags=dict(one.tags),
            address=one.id if running else "",
            port=22 if running else 0,
            user="root" if running else "",
            started=EPOCH + one.born,
            detail=one.detail,
            failure=failure,
            origin=one.origin,
        )


def _wears(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(
        name in tags if value == ANY else tags.get(name) == value for name, value in wanted.items()
    )


_NOTHING = Offer("", "", "", "", "", None, 0.0, 0)
_TIMEOUT = TransientError("the request timed out", scope="request")
_DENIED = AccessError("the credentials have expired", scope="request")
