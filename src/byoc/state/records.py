"""What the journal keeps, as values. Times are seconds since the epoch, 0 when not yet known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..resources import Offer

INTENT_OPEN = ("open", "launched")
"""States of an intent whose outcome still has to be followed."""
INSTANCE_LIVE = ("pending", "running", "draining", "idle", "ending", "lost")
"""States of an instance that may still cost money."""


class Intent(NamedTuple):
    """The will to rent, on disk before a provider is asked.

    ``state``: ``open`` (asked, or about to be; with a ``detail``: nobody asks any more, and what
    came of it is not known), ``launched`` (it has an id), ``failed`` (the provider refused),
    ``closed`` (reached, or proved not to exist). ``deadline``: until when its instance must be
    reachable. ``host_key``: the public line that the client will insist on. ``node`` numbers the
    instances of the run. ``missing``: answers in a row that showed no instance of it, the first of
    them at ``missed``.
    """

    token: str
    provider: str
    offer: Offer
    tags: Mapping[str, str]
    host_key: str
    run: str
    created: float
    deadline: float
    state: str = "open"
    instance_id: str = ""
    detail: str = ""
    node: int = 0
    missing: int = 0
    missed: float = 0.0


class InstanceRow(NamedTuple):
    """One instance as this installation knows it; ``price`` was copied when it was launched.

    ``state``: ``pending`` | ``running`` | ``draining`` (its cloud takes it away) | ``idle`` |
    ``ending`` | ``lost`` (it stopped answering, and its end is not accepted yet) | ``gone``.
    ``run``: the latest run that held it. ``reached``: when it first proved its host key, 0 while
    it has not. ``idle_until``: when an idle one ends itself. ``node``, ``missing``, ``missed``: as
    in :class:`Intent`. ``orphaned``: since when it is seen without a client, 0 while it has one.
    """

    provider: str
    id: str
    offer: Offer
    token: str = ""
    host_key: str = ""
    address: str = ""
    port: int = 0
    user: str = ""
    price: float | None = None
    run: str = ""
    state: str = "pending"
    started: float = 0.0
    reached: float = 0.0
    ended: float = 0.0
    idle_until: float = 0.0
    detail: str = ""
    node: int = 0
    orphaned: float = 0.0
    missing: int = 0
    missed: float = 0.0


class Attempt(NamedTuple):
    """One rung that was tried for a run; ``byoc why`` shows these.

    ``offer``: its key; ``reason``: why it stood where it stood in the ladder. ``outcome``: ``open``
    | ``warm`` | ``ok`` | ``refused`` | ``failed`` | ``unknown`` | ``skipped`` (not asked for, since
    something known spoke against it). ``code``: the vendor's own;
    ``error``: our code for its class. ``scope``, ``bucket``: what the refusal shut; ``remembered``:
    until when placement keeps off it, 0 when it does not. ``step``: what byoc did next.
    ``seconds``: how long the attempt took. ``console``: the end of what a machine printed that did
    not come up.
    """

    run: str
    seq: int
    provider: str
    offer: str
    at: float
    outcome: str = "open"
    code: str = ""
    error: str = ""
    message: str = ""
    request_id: str = ""
    scope: str = ""
    hint: str = ""
    instance_id: str = ""
    seconds: float = 0.0
    bucket: str = ""
    remembered: float = 0.0
    reason: str = ""
    step: str = ""
    console: str = ""


class Refusal(NamedTuple):
    """Something that a cloud would not sell, remembered so that it is not asked for again soon.

    ``key`` names what is shut: cloud, scope and the parts of the offer that the scope looks at.
    ``region`` to ``market`` are those of the offer that was refused. ``bucket``, ``amount``: the
    quota, and the least that was asked of it in vain (0 when not known). ``error``, ``code``,
    ``message``, ``request_id``, ``hint``: as in :class:`Attempt`. ``zones``: where the cloud says
    that there is some. ``at``: when it was last refused; ``until``: when it is forgotten;
    ``times``: how often in a row.
    """

    key: str
    cloud: str
    scope: str
    region: str = ""
    zone: str = ""
    type: str = ""
    market: str = ""
    bucket: str = ""
    amount: float = 0.0
    error: str = ""
    code: str = ""
    message: str = ""
    request_id: str = ""
    hint: str = ""
    zones: tuple[str, ...] = ()
    at: float = 0.0
    until: float = 0.0
    times: int = 1


class Run(NamedTuple):
    """One execution of a byoc command.

    ``kind``: ``run`` | ``exec`` | ``script``. ``status``: ``running`` | ``ok`` | ``failed`` |
    ``cancelled`` | ``lost``. ``pid``: the client's process. ``error``: ``Error.as_dict()``.
    """

    id: str
    kind: str
    command: tuple[str, ...] = ()
    cwd: str = ""
    name: str = ""
    pid: int = 0
    started: float = 0.0
    ended: float = 0.0
    status: str = "running"
    exit_code: int | None = None
    instances: tuple[str, ...] = ()
    log: str = ""
    detached: bool = False
    error: Mapping[str, Any] | None = None


class Stage(NamedTuple):
    """How long one stage of a run took."""

    run: str
    seq: int
    name: str
    seconds: float
    detail: str = ""
