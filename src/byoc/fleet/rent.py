"""Renting one offer: intent, launch, wait, hold; whatever stops it, nothing is left unknown."""

from __future__ import annotations

import hashlib

from ..errors import (
    BootError,
    Error,
    InstanceError,
    PlacementError,
    ProviderError,
)
from ..providers.base import (
    MESH_TAG,
    OWNER_TAG,
    PRICE_TAG,
    RUN_TAG,
    TOKEN_TAG,
    HostKey,
    Instance,
    LaunchRequest,
)
from ..providers.gates import INSIDE_TAG
from ..resources import Offer
from ..state import Attempt, Intent
from .acceptance import Case, accept
from .boot import Boot, Patience
from .boot import Reached as Answer
from .events import HELD, Adopted, GaveUp, Reached, Refuse, Wanted
from .held import Held
from .leases import granted
from .locks import UseLock, key_of
from .workshop import Wish, Workshop

CONSOLE_LINES = 20
"""Lines of a dead machine's console that are kept: a kernel's or cloud-init's last words."""


class Failed(Exception):
    """A rent that failed, with what it left to tell. Never leaves this room.

    ``instance``: the id of what was launched, empty when nothing was. ``sure``: what became of the
    launch is known.
    """

    def __init__(self, error: Error, instance: str, sure: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.instance = instance
        self.sure = sure


def rent(shop: Workshop, offer: Offer, wish: Wish, seq: int, alone: bool) -> Held:
    """Intent, launch, reach; whatever stops it, nothing is left that is not on disk.

    ``seq``: the attempt's number; ``alone``: no other offer is left, so that patience pays. Raises
    :class:`Failed` for whatever is an error of byoc's, and what else there is as itself.
    """
    token = launch_token(shop.journal.owner, wish, seq, offer)
    lock = UseLock.take(shop.home, token)
    if lock is None:
        busy = InstanceError(f"another process is launching {offer.key()} for run {wish.run}")
        raise Failed(busy, "", True)
    boot = shop.boot(offer.cloud)
    try:
        shop.dialer.ready(offer.cloud)
        request = _intend(shop, offer, wish, boot, token, alone)
    except Error as error:
        lock.release(remove=isinstance(error, PlacementError))
        raise Failed(error, "", True) from error
    except BaseException:
        lock.release()
        raise
    try:
        instance = boot.launch(request, wish.stop)
        shop.dialer.preload()  # takes as long as a local boot, and nothing else is to be done
        return reach(shop, boot, instance, request.host_key.public, lock, wish)
    except BaseException as error:  # whatever it is, the instance must not outlive it
        why = error.message if isinstance(error, Error) else type(error).__name__
        made, sure = boot.seen, True
        if made is None:
            sure = _not_launched(shop, boot, token, lock, why)
        else:
            shop.drop(made, lock, why)
        if isinstance(error, Error):
            raise Failed(error, made.id if made is not None else "", sure) from error
        raise


def _not_launched(shop: Workshop, boot: Boot, token: str, lock: UseLock, why: str) -> bool:
    """Let go of a launch that gave nothing; whether that is sure. Where its outcome is not known,
    the intent stays open for the sweep."""
    if not any(isinstance(one, Refuse) for one in boot.todo):  # interrupted on the way
        shop.book.tell(GaveUp(token, why))
    sure = Refuse(token, "refused") in boot.todo
    lock.release(remove=sure)
    return sure


def _intend(
    shop: Workshop, offer: Offer, wish: Wish, boot: Boot, token: str, alone: bool
) -> LaunchRequest:
    """The launch request, after its intent has reached the disk.

    The private host key is in this process's memory only: no other process asks for this token
    again. After a crash the sweep adopts what was launched by the public key in the intent. Raises
    PlacementError where a limit speaks against it.
    """
    now, settings = shop.book.now(), shop.settings
    key: HostKey = shop.dialer.new_host_key()
    public = shop.way_of(offer.cloud).public
    price = "" if offer.price is None else f"{offer.price:.6g}"
    tags = {
        OWNER_TAG: shop.journal.owner,
        RUN_TAG: wish.run,
        TOKEN_TAG: token,
        **granted(now, settings.lifetime),
        PRICE_TAG: price,
        **({MESH_TAG: "1"} if wish.mesh else {}),
        **({} if public else {INSIDE_TAG: "1"}),
    }
    request = LaunchRequest(
        token,
        offer,
        tags,
        key,
        shop.dialer.authorized_key(),
        settings.boot_lease,
        disk=wish.resources.disk,
        lifetime=settings.lifetime,
        mesh=wish.mesh,
        public=public,
    )
    deadline = now + settings.boot_timeout
    intent = Intent(
        token, offer.cloud, offer, tags, key.public, wish.run, now, deadline, node=wish.node
    )
    wanted = Wanted(token, offer.cloud, offer.region, wish.run, wish.node, deadline, alone)
    boot.todo = shop.book.tell(wanted, intent=intent)
    for one in boot.todo:
        if isinstance(one, Refuse):
            raise _capped(shop, wish, one.why)
    shop.closing.opens(offer.cloud, offer.region)  # behind the intent: see there
    return request


def _capped(shop: Workshop, wish: Wish, why: str) -> PlacementError:
    if why == "launches":
        return PlacementError(
            f"run {wish.run} has launched too many instances already",
            hints=(f"see `byoc why {wish.run}` for what became of them",),
        )
    return PlacementError(
        f"{shop.settings.max_instances} instances of this installation live or may do so, and "
        "the setting max_instances allows no more",
        hints=("end some: byoc ps, then byoc down ID", "or raise max_instances"),
    )


def reach(
    shop: Workshop, boot: Boot, instance: Instance, host_key: str, lock: UseLock, wish: Wish
) -> Held:
    """Wait for a booting instance and hold it. Raises as :meth:`Boot.reach`; a BootError has the
    end of the machine's console, where the cloud keeps one."""
    settings, token = shop.settings, key_of(instance)
    patience = Patience(settings.boot_timeout, settings.connect_timeout, wish.stop)
    if boot.seen is None:  # it was launched by another client
        deadline = shop.book.now() + settings.boot_timeout
        boot.adopt(Adopted(token, wish.run, wish.node, deadline))
    try:
        reached = boot.reach(instance, host_key, patience)
    except BootError as error:
        _read_console(shop, instance, error)
        raise
    health = _examine(shop, reached, wish)
    return hold(shop, wish, reached, host_key, lock, Reached(token), health)


def hold(
    shop: Workshop,
    wish: Wish,
    answer: Answer,
    host_key: str,
    lock: UseLock,
    event: Reached | Adopted,
    health: str = "",
) -> Held:
    """Note that the wish's run has a machine that has answered. ``event``: what it is, a new one or
    a warm one. Raises InstanceError when somebody has asked for its end meanwhile, StateError; the
    connection is closed then."""
    instance = answer.instance
    try:
        shop.book.tell(event, instance)
        life = shop.book.life(event.token)
        if life is not None and life.state != HELD:
            raise InstanceError(f"instance {instance.id} is about to end")
        shop.journal.add_run_instance(wish.run, f"{instance.provider}/{instance.id}")
    except BaseException:
        answer.connection.close()
        raise
    shop.leases.hold(shop.providers[instance.provider], instance, wish.run)
    return Held(
        instance,
        host_key,
        shop.around(instance.provider),
        lock,
        first=answer.connection,
        connecting=answer.connecting,
        warm=isinstance(event, Adopted),
        keep=wish.keep,
        health=health,
    )


def _examine(shop: Workshop, reached: Answer, wish: Wish) -> str:
    """See that its GPUs are what was offered, and sound; one line about them, empty where there are
    none. Raises as :func:`byoc.fleet.acceptance.accept`."""
    instance, traits = reached.instance, shop.providers[reached.instance.provider].traits
    offer = instance.offer
    if not (offer.gpu_count and shop.settings.accept_gpus) or traits.shared_host:
        return ""
    own_image = f"{offer.cloud}.image" in shop.settings.options
    case = Case(instance.id, offer, traits.python, own_image)
    shop.reporter.stage("connect", "wait", "waiting for a look at its GPUs")
    try:
        return accept(reached.connection, case, shop.clock, wish.stop)
    except BaseException:
        reached.connection.close()
        raise


def _read_console(shop: Workshop, instance: Instance, error: BootError) -> None:
    """Add the last lines that the machine printed, before it is ended and they are gone."""
    try:
        printed = shop.providers[instance.provider].console(instance.id)
    except ProviderError as refused:
        shop.reporter.notice(f"the console of {instance.id} could not be read: {refused.message}")
        return
    lines = [line.rstrip() for line in printed.splitlines() if line.strip()]
    error.console = "\n".join(lines[-CONSOLE_LINES:])


def launch_token(owner: str, wish: Wish, seq: int, offer: Offer) -> str:
    """The token of one attempt: 128 bits that the same attempt always derives again."""
    text = "\n".join((owner, wish.run, str(wish.node), str(seq), offer.key()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def told(attempt: Attempt, error: Error, seconds: float, *, sure: bool = True) -> Attempt:
    """An attempt that failed, in the words of what it failed on. ``sure``: no instance can have
    come of it that nobody knows."""
    theirs = error if isinstance(error, ProviderError) else ProviderError()
    outcome = "refused" if isinstance(error, ProviderError) else "failed"
    return attempt._replace(
        outcome=outcome if sure else "unknown",
        code=theirs.vendor_code,
        error=error.code,
        message=error.message,
        request_id=theirs.request_id,
        scope=theirs.scope,
        bucket=theirs.bucket,
        hint=error.hints[0] if error.hints else "",
        seconds=seconds,
        console=error.console if isinstance(error, BootError) else "",
    )
