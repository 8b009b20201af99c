"""Renting one offer: intent, launch, wait, hold; whatever stops it, nothing is left unknown."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..clock import IDS, Clock, Ids
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
    Provider,
)
from ..providers.gates import INSIDE_TAG
from ..resources import Offer, Resources
from ..settings import Settings
from ..state import Attempt, Intent, Journal
from ..tasks import side_by_side
from .acceptance import Case, accept
from .admitting import Admitting
from .book import Book
from .boot import Boot, Patience, Tools
from .boot import Reached as Answer
from .closing import Closing
from .ending import end_and_wait, follow
from .events import (
    ENDING,
    GONE,
    UNSURE,
    Adopted,
    Command,
    Found,
    GaveUp,
    Launched,
    Life,
    Reached,
    Refuse,
    Wanted,
)
from .events import Closing as Settling
from .held import Held, Surroundings
from .leases import Keeper, granted
from .ledger import seen_of
from .locks import UseLock, key_of
from .pace import Pace
from .policy import Policy
from .ports import Dialer, Reporter, Stop
from .ways import WayOf, Ways

CONSOLE_LINES = 20
"""Lines of a dead machine's console that are kept: a kernel's or cloud-init's last words."""
SETTLED_AT_ONCE = 8
"""Instances that are looked after side by side at the end; each is a request or two."""

TRAILING = 90.0
"""Seconds that the end of a fleet waits for launches that were given up: a cloud's SDK waits up to
a minute for an answer, and ending what came of it is a request or two."""


class Wish(NamedTuple):
    """One acquire: what is wanted, and for whom. ``node`` numbers the instances of one run;
    ``only``: the keys of an approved plan, empty for any offer; ``nodes``: so many are wanted side
    by side; ``mesh``: others of its owner must reach it."""

    resources: Resources
    run: str
    node: int
    keep: bool
    stop: Stop
    only: tuple[str, ...] = ()
    nodes: int = 1
    mesh: bool = False


class Workshop:
    """What climbing and attaching work with: the parts of one fleet. ``book``: leads the lives.
    ``trailing``: threads of launches that were beaten by another one, which end what they made."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        dialer: Dialer,
        reporter: Reporter,
        clock: Clock,
        ids: Ids = IDS,
        book: Book | None = None,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.providers = providers
        self.closing = Closing(settings.home, journal, providers, reporter, clock)
        self.dialer: Dialer = Admitting(dialer, self.closing, clock)
        self.way_of: WayOf = Ways(settings)
        self.reporter = reporter
        self.clock = clock
        self.ids = ids
        policy = Policy(max_instances=settings.max_instances)
        self.book = book or Book(settings.home, journal, clock, policy)
        self._tools = Tools(self.dialer, reporter, clock, ids, self.book, Pace(clock))
        self.leases = Keeper(reporter, clock)
        self.trailing: list[threading.Thread] = []

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
            self.book,
            self.closing,
            self.leases,
        )

    def boot(self, provider: str) -> Boot:
        """A boot on this provider."""
        return Boot(self.providers[provider], self._tools)

    def beside(self, reporter: Reporter) -> Workshop:
        """The same parts, for one of several launches side by side, telling another reporter."""
        found = copy.copy(self)
        found.reporter = reporter
        found._tools = self._tools._replace(reporter=reporter)
        return found

    def attempt(self, wish: Wish, offer: Offer, outcome: str = "open", reason: str = "") -> Attempt:
        """A new attempt of the wish's run, on disk."""
        at = self.clock.wall()
        seq = self.journal.open_attempt(wish.run, offer.cloud, offer.key(), at)
        return Attempt(wish.run, seq, offer.cloud, offer.key(), at, outcome, reason=reason)

    def drop(self, instance: Instance, lock: UseLock, why: str) -> None:
        """End an instance that is of no use; when that fails, the next sweep goes on trying.

        The journal may be what failed, so the provider is asked whatever becomes of the note, for
        which StateError is raised at last. One that its provider says is gone needs no asking.
        """
        token = key_of(instance)
        life = self.book.life(token)
        if life is not None and not life.id:  # stopped right behind the cloud's answer
            self.book.tell(Launched(token, instance.id), instance)
        self._end(instance, lock, self.book.tell(GaveUp(token, why)))

    def _end(self, instance: Instance, lock: UseLock, commands: Sequence[Command]) -> None:
        token, gone = key_of(instance), False
        provider = self.providers[instance.provider]
        try:
            follow(self.book, provider, self.clock, commands)
            life = self.book.life(token)
            if life is None:  # the journal does not know it
                end_and_wait(provider, instance.id, self.clock, 0.0)
            gone = life is not None and life.state == GONE
        except ProviderError as error:
            self.reporter.notice(
                f"instance {instance.id} could not be ended ({error.message}); byoc asks "
                "again later, and its own lease ends it"
            )
        finally:
            lock.release(remove=gone)
        self.book.check(token)

    def settle(self) -> None:
        """End what launches have made after all whose answers were lost, and see that what was
        given up does end; for the end of a fleet.

        What cannot be seen yet stays with its open intent, for the next sweep.
        """
        self._await_trailing()
        lives = self.book.mine()
        works = [partial(self._find_again, one) for one in lives if one.state == UNSURE]
        works += [partial(self._see_ending, one) for one in lives if one.state == ENDING]
        side_by_side(works, SETTLED_AT_ONCE)
        self.closing.finish()

    def _await_trailing(self) -> None:
        deadline = self.clock.mono() + TRAILING
        for thread in self.trailing:
            thread.join(max(0.0, deadline - self.clock.mono()))
        late = [thread for thread in self.trailing if thread.is_alive()]
        self.trailing.clear()
        if late:
            self.reporter.notice(
                f"{len(late)} launches that were given up have not been answered yet; byoc ends "
                "what comes of them when it runs next, and their own leases do"
            )

    def _find_again(self, life: Life) -> None:
        """Look once more for what a launch has made whose answer was lost, and end it."""
        mark = {OWNER_TAG: self.journal.owner, TOKEN_TAG: life.token}
        try:
            found = self.providers[life.provider].list(mark, (life.region,))
        except ProviderError as error:
            place = f"{life.provider}/{life.region}"
            self.reporter.notice(f"a launch in {place} is not settled: {error.message}")
            return
        lock = UseLock.take(self.home, life.token) if found else None
        if lock is not None:  # else a sweep has found it, and somebody uses it
            commands = self.book.tell(Found(life.token, seen_of(found[0])), found[0])
            self._end(found[0], lock, commands)

    def _see_ending(self, life: Life) -> None:
        try:
            commands = self.book.tell(Settling(life.token))
            last = follow(self.book, self.providers[life.provider], self.clock, commands)
        except ProviderError as error:
            self.reporter.notice(f"instance {life.id} could not be ended: {error.message}")
            return
        if last is not None and last.state not in ("gone", "ending"):
            self.reporter.notice(
                f"instance {life.id} goes on although its cloud was asked to end it; its own "
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
    shop.book.tell(Reached(token), reached.instance)
    shop.journal.add_run_instance(wish.run, f"{instance.provider}/{instance.id}")
    shop.leases.hold(shop.providers[instance.provider], reached.instance, wish.run)
    return Held(
        reached.instance,
        host_key,
        shop.around(instance.provider),
        lock,
        first=reached.connection,
        connecting=reached.connecting,
        warm=False,
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
