"""Climbing a ladder: one rung after the other until an instance is ours and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..clock import Clock
from ..errors import (
    AccessError,
    BadRequestError,
    Error,
    HostKeyError,
    InstanceError,
    PlacementError,
    ProviderError,
    ThrottleError,
    TransientError,
)
from ..providers.base import (
    OWNER_TAG,
    RUN_TAG,
    TOKEN_TAG,
    HostKey,
    Instance,
    LaunchRequest,
    Provider,
)
from ..resources import Ladder, Offer, Resources
from ..settings import Settings
from ..state import Attempt, Intent, Journal
from .boot import Boot, Patience
from .held import Held, Surroundings
from .locks import UseLock
from .ports import Dialer, Reporter, Stop
from .reconcile import row_of

EXPIRES_TAG = "byoc-expires"
"""Tag: second of the epoch after which an unreached instance has no right to live."""
PRICE_TAG = "byoc-price"
"""Tag: dollars an hour at launch, so that a receipt needs no journal."""
MAX_RUNGS = 32
"""Most rungs that one acquire tries; a ladder that long has told enough."""


class Wish(NamedTuple):
    """One acquire: what is wanted, and for whom. ``node`` numbers the instances of one run."""

    resources: Resources
    run: str
    node: int
    keep: bool
    stop: Stop


class Workshop:
    """What climbing and attaching work with: the parts of one fleet."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        dialer: Dialer,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.providers = providers
        self.dialer = dialer
        self.reporter = reporter
        self.clock = clock

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
        )

    def boot(self, provider: str) -> Boot:
        """A boot on this provider."""
        return Boot(self.providers[provider], self.dialer, self.reporter, self.clock)

    def attempt(self, wish: Wish, offer: Offer, outcome: str = "open") -> Attempt:
        """A new attempt of the wish's run, on disk."""
        at = self.clock.wall()
        seq = self.journal.open_attempt(wish.run, offer.cloud, offer.key(), at)
        return Attempt(wish.run, seq, offer.cloud, offer.key(), at, outcome)

    def drop(self, instance: Instance, lock: UseLock, why: str) -> None:
        """End an instance that is of no use; when that fails, the next sweep goes on trying.

        The journal may be what failed, so the provider is asked whatever becomes of the note.
        """
        provider, gone = self.providers[instance.provider], False
        name = (instance.provider, instance.id)
        try:
            self.journal.update_instance(*name, state="ending", detail=why)
        finally:
            try:
                provider.terminate(instance.id)
                gone = provider.get(instance.id).state == "gone"
            except ProviderError as error:
                self.reporter.notice(
                    f"instance {instance.id} could not be ended ({error.message}); byoc asks "
                    "again later, and its own lease ends it"
                )
            finally:
                lock.release(remove=gone)
        if gone:
            self.journal.update_instance(*name, state="gone", ended=self.clock.wall())


def climb(shop: Workshop, ladder: Ladder, wish: Wish) -> Held:
    """Try the rungs in order. Raises what stopped it, or PlacementError after the last one."""
    failures: list[tuple[Offer, Error]] = []
    barred: set[str] = set()
    for rung in ladder.rungs[:MAX_RUNGS]:
        if rung.offer.cloud in barred:
            continue
        try:
            return _rung(shop, rung.offer, wish)
        except (BadRequestError, HostKeyError):
            raise
        except AccessError as error:
            barred.add(rung.offer.cloud)
            failures.append((rung.offer, error))
        except (ProviderError, InstanceError) as error:
            failures.append((rung.offer, error))
        offer, failure = failures[-1]
        shop.reporter.stage("boot", "failed", f"{offer.key()}: {failure.message}")
    raise _exhausted(failures, wish)


def _rung(shop: Workshop, offer: Offer, wish: Wish) -> Held:
    attempt = shop.attempt(wish, offer)
    begun = shop.clock.mono()
    shop.reporter.stage("boot", "start", offer.key())
    try:
        held = _rent(shop, offer, wish, attempt.seq)
    except Error as error:
        shop.journal.close_attempt(told(attempt, error, shop.clock.mono() - begun))
        raise
    except BaseException as error:  # Ctrl-C and our own mistakes: note it, never keep it
        text = str(error) or type(error).__name__
        seconds = shop.clock.mono() - begun
        shop.journal.close_attempt(
            attempt._replace(outcome="failed", message=text, seconds=seconds)
        )
        raise
    shop.journal.close_attempt(
        attempt._replace(
            outcome="ok",
            instance_id=held.instance.id,
            seconds=shop.clock.mono() - begun,
        )
    )
    return held


def _rent(shop: Workshop, offer: Offer, wish: Wish, seq: int) -> Held:
    """Intent, launch, reach; whatever stops it, nothing is left that is not on disk."""
    token = launch_token(shop.journal.owner, wish, seq, offer)
    lock = UseLock.take(shop.home, token)
    if lock is None:
        raise InstanceError(f"another process is launching {offer.key()} for run {wish.run}")
    try:
        request = _intend(shop, offer, wish, token)
        instance = shop.boot(offer.cloud).launch(request, wish.stop)
    except (TransientError, ThrottleError):
        lock.release()  # the outcome is unknown: the intent stays open for the sweep
        raise
    except ProviderError as error:
        shop.journal.update_intent(token, "failed", detail=error.message)
        lock.release(remove=True)
        raise
    except BaseException:
        lock.release()
        raise
    try:
        shop.journal.put_instance(row_of(instance)._replace(host_key=request.host_key.public))
        shop.journal.update_intent(token, "launched", instance_id=instance.id)
        shop.dialer.preload()  # takes as long as a local boot, and nothing else is to be done
        return reach(shop, instance, request.host_key.public, lock, wish)
    except BaseException as error:  # whatever it is, the instance must not outlive it
        why = error.message if isinstance(error, Error) else type(error).__name__
        shop.drop(instance, lock, why)
        shop.journal.update_intent(token, "closed", detail=why)
        raise


def _intend(shop: Workshop, offer: Offer, wish: Wish, token: str) -> LaunchRequest:
    """The launch request, after its intent has reached the disk.

    The private host key is in this process's memory only: no other process asks for this token
    again. After a crash the sweep adopts what was launched by the public key in the intent.
    """
    now = shop.clock.wall()
    key: HostKey = shop.dialer.new_host_key()
    price = "" if offer.price is None else f"{offer.price:.6g}"
    tags = {
        OWNER_TAG: shop.journal.owner,
        RUN_TAG: wish.run,
        TOKEN_TAG: token,
        EXPIRES_TAG: str(int(now + shop.settings.boot_lease)),
        PRICE_TAG: price,
    }
    request = LaunchRequest(
        token, offer, tags, key, shop.dialer.authorized_key(), shop.settings.boot_lease
    )
    deadline = now + shop.settings.boot_timeout
    shop.journal.open_intent(
        Intent(token, offer.cloud, offer, tags, key.public, wish.run, now, deadline)
    )
    return request


def reach(shop: Workshop, instance: Instance, host_key: str, lock: UseLock, wish: Wish) -> Held:
    """Wait for a booting instance and hold it. Raises as :meth:`Boot.reach`."""
    settings = shop.settings
    patience = Patience(settings.boot_timeout, settings.connect_timeout, wish.stop)
    reached = shop.boot(instance.provider).reach(instance, host_key, patience)
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


def launch_token(owner: str, wish: Wish, seq: int, offer: Offer) -> str:
    """The token of one attempt: 128 bits that the same attempt always derives again."""
    text = "\n".join((owner, wish.run, str(wish.node), str(seq), offer.key()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def told(attempt: Attempt, error: Error, seconds: float) -> Attempt:
    """An attempt that failed, in the words of what it failed on."""
    outcome = "failed"
    if isinstance(error, (TransientError, ThrottleError)):
        outcome = "unknown"
    elif isinstance(error, ProviderError):
        outcome = "refused"
    theirs = error if isinstance(error, ProviderError) else ProviderError()
    return attempt._replace(
        outcome=outcome,
        code=theirs.vendor_code,
        error=error.code,
        message=error.message,
        request_id=theirs.request_id,
        scope=theirs.scope,
        hint=error.hints[0] if error.hints else "",
        seconds=seconds,
    )


def _exhausted(failures: list[tuple[Offer, Error]], wish: Wish) -> Error:
    """One failure as itself; several as a story."""
    if len(failures) == 1:
        return failures[0][1]
    lines = [f"{offer.key()}: {error.message}" for offer, error in failures]
    return PlacementError(
        f"none of the {len(failures)} offers that could hold {wish.resources.describe()} worked: "
        + "; ".join(lines),
        hints=(f"see `byoc why {wish.run}` for each answer, or allow more clouds or regions",),
    )
