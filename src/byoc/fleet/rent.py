"""Renting one offer: intent, launch, wait, hold; whatever stops it, nothing is left unknown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..clock import IDS, Clock, Ids
from ..errors import (
    BootError,
    Error,
    InstanceError,
    ProviderError,
    ThrottleError,
)
from ..providers.base import (
    EXPIRES_TAG,
    OWNER_TAG,
    PRICE_TAG,
    RUN_TAG,
    TOKEN_TAG,
    HostKey,
    Instance,
    LaunchRequest,
    Provider,
)
from ..resources import Offer, Resources
from ..settings import Settings
from ..state import Attempt, Intent, Journal
from ..tasks import side_by_side
from .boot import Boot, Patience
from .ending import ask_to_end, see_ending
from .held import Held, Surroundings
from .locks import UseLock
from .ports import Dialer, Reporter, Stop
from .reconcile import row_of

CONSOLE_LINES = 20
"""Lines of a dead machine's console that are kept: a kernel's or cloud-init's last words."""
SETTLED_AT_ONCE = 8
"""Instances that are looked after side by side at the end; each is a request or two."""


class Wish(NamedTuple):
    """One acquire: what is wanted, and for whom. ``node`` numbers the instances of one run;
    ``only``: the keys of an approved plan, empty for any offer."""

    resources: Resources
    run: str
    node: int
    keep: bool
    stop: Stop
    only: tuple[str, ...] = ()


class Workshop:
    """What climbing and attaching work with: the parts of one fleet. ``unsure``: the tokens of
    launches whose outcome is not known, and their offers. ``loose``: see Surroundings."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        dialer: Dialer,
        reporter: Reporter,
        clock: Clock,
        ids: Ids = IDS,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.providers = providers
        self.dialer = dialer
        self.reporter = reporter
        self.clock = clock
        self.ids = ids
        self.unsure: list[tuple[str, Offer]] = []
        self.loose: list[tuple[str, str]] = []

    @property
    def home(self) -> Path:
        """The data folder."""
        return self.settings.home

    def around(self, provider: str) -> Surroundings:
        """What a held instance of this provider works with."""
        return Surroundings(
            self.providers[provider],
            self.journal,
            self.dialer,
            self.reporter,
            self.clock,
            self.settings.connect_timeout,
            self.loose,
        )

    def boot(self, provider: str) -> Boot:
        """A boot on this provider."""
        return Boot(self.providers[provider], self.dialer, self.reporter, self.clock, self.ids)

    def attempt(self, wish: Wish, offer: Offer, outcome: str = "open", reason: str = "") -> Attempt:
        """A new attempt of the wish's run, on disk."""
        at = self.clock.wall()
        seq = self.journal.open_attempt(wish.run, offer.cloud, offer.key(), at)
        return Attempt(wish.run, seq, offer.cloud, offer.key(), at, outcome, reason=reason)

    def drop(self, instance: Instance, lock: UseLock, why: str) -> None:
        """End an instance that is of no use; when that fails, the next sweep goes on trying.

        The journal may be what failed, so the provider is asked whatever becomes of the note. One
        that its provider says is gone needs no asking.
        """
        provider, gone = self.providers[instance.provider], instance.state == "gone"
        name = (instance.provider, instance.id)
        try:
            self.journal.update_instance(*name, state="ending", detail=why)
        finally:
            try:
                if not gone:
                    ask_to_end(provider, instance.id, self.clock)
                    gone = provider.get(instance.id).state == "gone"
                if not gone:
                    self.loose.append(name)
            except ProviderError as error:
                self.reporter.notice(
                    f"instance {instance.id} could not be ended ({error.message}); byoc asks "
                    "again later, and its own lease ends it"
                )
            finally:
                lock.release(remove=gone)
        if gone:
            self.journal.update_instance(*name, state="gone", ended=self.clock.wall())

    def settle(self) -> None:
        """End what launches have made after all whose answers were lost, and see that what was
        given up does end; for the end of a fleet.

        What cannot be seen yet stays with its open intent, for the next sweep.
        """
        for token, offer in self.unsure:
            mark = {OWNER_TAG: self.journal.owner, TOKEN_TAG: token}
            try:
                found = self.providers[offer.cloud].list(mark, (offer.region,))
            except ProviderError as error:
                self.reporter.notice(f"a launch on {offer.key()} is not settled: {error.message}")
                continue
            intent = self.journal.intent(token)
            lock = UseLock.take(self.home, token) if found else None
            if lock is not None:  # else a sweep has found it, and somebody uses it
                why = "its launch was given up"
                self.journal.put_instance(row_of(found[0], intent))
                self.journal.update_intent(token, "closed", instance_id=found[0].id, detail=why)
                self.drop(found[0], lock, why)
        self.unsure.clear()
        loose = dict.fromkeys(self.loose)
        self.loose.clear()
        side_by_side([partial(self._see_ending, *name) for name in loose], SETTLED_AT_ONCE)

    def _see_ending(self, provider: str, instance_id: str) -> None:
        try:
            last = see_ending(self.providers[provider], instance_id, self.clock)
        except ProviderError as error:
            self.reporter.notice(f"instance {instance_id} could not be ended: {error.message}")
            return
        if last.state == "gone":
            ended = self.clock.wall()
            self.journal.update_instance(provider, instance_id, state="gone", ended=ended)
        elif last.state != "ending":
            self.reporter.notice(
                f"instance {instance_id} goes on although its cloud was asked to end it; its own "
                "lease ends it"
            )


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
        request = _intend(shop, offer, wish, token)
    except BaseException:
        lock.release()
        raise
    try:
        instance = boot.launch(request, wish.stop, alone)
    except Error as error:
        raise _not_launched(shop, boot, request, lock, error) from error
    except BaseException:
        shop.unsure.append((token, offer))
        lock.release()
        raise
    try:
        shop.journal.put_instance(row_of(instance)._replace(host_key=request.host_key.public))
        shop.journal.update_intent(token, "launched", instance_id=instance.id)
        shop.dialer.preload()  # takes as long as a local boot, and nothing else is to be done
        return reach(shop, boot, instance, request.host_key.public, lock, wish)
    except BaseException as error:  # whatever it is, the instance must not outlive it
        why = error.message if isinstance(error, Error) else type(error).__name__
        shop.drop(boot.seen or instance, lock, why)
        shop.journal.update_intent(token, "closed", detail=why)
        if isinstance(error, Error):
            raise Failed(error, instance.id, True) from error
        raise


def _not_launched(
    shop: Workshop, boot: Boot, request: LaunchRequest, lock: UseLock, error: Error
) -> Failed:
    """What is to be told of a launch that gave nothing, once it is on disk. Where its outcome is
    not known, the intent stays open for the sweep."""
    if not isinstance(error, ProviderError):
        lock.release()
        return Failed(error, "", True)
    sure = not (boot.unsure or isinstance(error, ThrottleError))
    if sure:
        shop.journal.update_intent(request.token, "failed", detail=error.message)
    else:
        shop.unsure.append((request.token, request.offer))
    lock.release(remove=sure)
    return Failed(error, "", sure)


def _intend(shop: Workshop, offer: Offer, wish: Wish, token: str) -> LaunchRequest:
    """The launch request, after its intent has reached the disk.

    The private host key is in this process's memory only: no other process asks for this token
    again. After a crash the sweep adopts what was launched by the public key in the intent.
    """
    now, settings = shop.clock.wall(), shop.settings
    key: HostKey = shop.dialer.new_host_key()
    price = "" if offer.price is None else f"{offer.price:.6g}"
    tags = {
        OWNER_TAG: shop.journal.owner,
        RUN_TAG: wish.run,
        TOKEN_TAG: token,
        EXPIRES_TAG: str(int(now + settings.boot_lease)),
        PRICE_TAG: price,
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
    )
    deadline = now + settings.boot_timeout
    shop.journal.open_intent(
        Intent(token, offer.cloud, offer, tags, key.public, wish.run, now, deadline)
    )
    return request


def reach(
    shop: Workshop, boot: Boot, instance: Instance, host_key: str, lock: UseLock, wish: Wish
) -> Held:
    """Wait for a booting instance and hold it. Raises as :meth:`Boot.reach`; a BootError has the
    end of the machine's console, where the cloud keeps one."""
    settings = shop.settings
    patience = Patience(settings.boot_timeout, settings.connect_timeout, wish.stop)
    try:
        reached = boot.reach(instance, host_key, patience)
    except BootError as error:
        _read_console(shop, instance, error)
        raise
    row = row_of(reached.instance)._replace(host_key=host_key, run=wish.run)
    shop.journal.put_instance(row._replace(reached=shop.clock.wall()))
    if row.token:
        shop.journal.update_intent(row.token, "closed", instance_id=row.id, detail="reached")
    shop.journal.add_run_instance(wish.run, f"{row.provider}/{row.id}")
    return Held(
        reached.instance,
        host_key,
        shop.around(row.provider),
        lock,
        first=reached.connection,
        connecting=reached.connecting,
        warm=False,
        keep=wish.keep,
    )


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
