"""What the life of an instance is told in: its record, what happens to it, what is to be done.

Values only. :mod:`byoc.fleet.life` is the function that joins them. Times are seconds since the
epoch, 0 for not yet; ``token`` is the launch token of one attempt, by which a life is known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

# --- the states of a life -------------------------------------------------------------------

INTENDED = "intended"
"""On disk; its cloud is being asked, or about to be."""
UNSURE = "unsure"
"""An answer was lost and nobody asks any more: there may be an instance, looked for by its tag."""
BOOTING = "booting"
"""The cloud has made it; nobody has reached it yet."""
HELD = "held"
"""Reached. Its client works with it; once that client is dead, it is for who comes first."""
DRAINING = "draining"
"""Held, and its cloud has said that it takes it away."""
IDLE = "idle"
"""Given back, warm until ``idle_until``."""
ENDING = "ending"
"""Its end is wanted; it has not been seen gone."""
REFUSED = "refused"
"""Closed: the launch gave nothing."""
GONE = "gone"
"""Closed: it is no more, or never was."""

OPEN = (INTENDED, UNSURE, BOOTING, HELD, DRAINING, IDLE, ENDING)
"""States that may cost money."""
MADE = (BOOTING, HELD, DRAINING, IDLE, ENDING)
"""States of which an instance is known."""
CLOSED = (REFUSED, GONE)

EDGES: Mapping[str, tuple[str, ...]] = {
    "": (INTENDED, BOOTING, ENDING),  # wanted; found in a list although the journal was lost
    INTENDED: (UNSURE, BOOTING, ENDING, REFUSED),
    UNSURE: (BOOTING, ENDING, GONE),
    BOOTING: (HELD, ENDING, GONE),
    HELD: (DRAINING, IDLE, ENDING, GONE),
    DRAINING: (ENDING, GONE),
    IDLE: (HELD, ENDING, GONE),
    ENDING: (GONE,),
    REFUSED: (ENDING,),  # the cloud made it all the same
    GONE: (ENDING,),  # a list shows it again
}
"""The steps from state to state that there are; ``""`` is a life that was not known."""


class Life(NamedTuple):
    """One launch, from its intent until it is gone.

    ``id``: the instance, empty until known. ``node`` numbers the instances of a run. ``created``:
    when it was intended; ``deadline``: until when it must be reached, 0 when its tags alone tell of
    it. ``reached``: when it first proved its host key. ``idle_until``: until when an idle one is
    warm. ``ended``: when it was closed. ``orphaned``: since when it is seen without a client.
    ``missing``: answers in a row that do not know it, and ``missed``: the first of them. ``why``:
    why it ends or ended. ``lost``: it stopped answering and its cloud has not accepted its end.

    The rest is of one process and on no disk. ``alone``: no other offer is left; ``lost_answers``,
    ``throttled``: of the launch; ``looks``: since its last change; ``shown``: a look by id has
    shown it; ``begun``: when the present wait began; ``asks``, ``asked``: how often, and when last,
    its end was asked for; ``watch``: what is waited for (:data:`UNTIL_GONE`, ...) until
    ``watch_until``.
    """

    token: str
    provider: str
    region: str
    state: str = INTENDED
    id: str = ""
    run: str = ""
    node: int = 0
    created: float = 0.0
    deadline: float = 0.0
    reached: float = 0.0
    idle_until: float = 0.0
    ended: float = 0.0
    orphaned: float = 0.0
    missing: int = 0
    missed: float = 0.0
    why: str = ""
    lost: bool = False
    alone: bool = False
    lost_answers: int = 0
    throttled: int = 0
    looks: int = 0
    shown: bool = False
    begun: float = 0.0
    asks: int = 0
    asked: float = 0.0
    watch: str = ""
    watch_until: float = 0.0


Ledger = Mapping[str, Life]
"""Lives by token."""

UNTIL_REACHED = "reached"
"""A client waits for a booting instance."""
UNTIL_ACCEPTED = "accepted"
"""Enough is an end that its cloud has accepted, and one look."""
UNTIL_BEGUN = "begun"
"""Enough is an instance that looks as if it were ending."""
UNTIL_GONE = "gone"
"""Only gone is enough."""


class Seen(NamedTuple):
    """An instance as its provider showed it: the part of it that decisions need.

    ``state``: ``pending`` | ``running`` | ``ending`` | ``gone``. ``told``: the provider says why it
    is in this state; an unexplained ``gone`` may be a read that lags. ``origin``: the token by the
    cloud's own record, empty where it tells none.
    """

    token: str
    id: str
    state: str
    told: bool = False
    origin: str = ""
    run: str = ""
    region: str = ""
    started: float = 0.0


# --- what happens ---------------------------------------------------------------------------


class Wanted(NamedTuple):
    """A client wants an instance: the first event of a life. ``deadline``: see :class:`Life`."""

    token: str
    provider: str
    region: str
    run: str
    node: int
    deadline: float
    alone: bool = False


class Launched(NamedTuple):
    """The cloud has answered a launch."""

    token: str
    id: str


class LaunchFailed(NamedTuple):
    """A launch was refused, or its answer did not come.

    ``kind``: ``refused`` | ``throttle`` | ``token`` (it stands for something else) | ``transient``
    (it may have made one) | ``region`` (it was not even asked). ``share``: a draw between 0 and 1,
    by which clients spread their next tries. ``hurry``: the caller has given up waiting. ``why``:
    the cloud's answer, for people.
    """

    token: str
    kind: str
    share: float = 1.0
    hurry: bool = False
    why: str = ""


class Found(NamedTuple):
    """A look by tag was answered: ``seen`` is None when it shows none (or could not be asked)."""

    token: str
    seen: Seen | None


class Looked(NamedTuple):
    """A look by id was answered."""

    token: str
    seen: Seen


class LookFailed(NamedTuple):
    """The provider could not be asked now."""

    token: str


class Reached(NamedTuple):
    """The instance has proved its host key to its client."""

    token: str


class Adopted(NamedTuple):
    """A client has taken an instance that nobody held (and has its lock). ``deadline``: until when
    one must be reached that never was."""

    token: str
    run: str
    node: int
    deadline: float


class GaveUp(NamedTuple):
    """Its client does not want it any more, before it was of use: cancelled, a wrong key, a bad
    host, Ctrl-C."""

    token: str
    why: str


class Released(NamedTuple):
    """Its client needs it no more; it may stay warm until then."""

    token: str
    idle_until: float


class Ended(NamedTuple):
    """Its end is wanted, and waited for."""

    token: str
    why: str = ""


class Lost(NamedTuple):
    """It stopped answering its client."""

    token: str
    why: str


class Noticed(NamedTuple):
    """Its cloud takes it away in so many seconds."""

    token: str
    seconds: float


class EndAccepted(NamedTuple):
    """The cloud has accepted that it ends."""

    token: str


class EndFailed(NamedTuple):
    """It could not be ended now. ``again``: the cloud could not be asked, or was too busy, or does
    not know it yet, so that asking again may help."""

    token: str
    again: bool


class Listed(NamedTuple):
    """A provider has shown all that carries this installation's tag.

    ``regions``: where; empty means everywhere. ``asked``: when the list was asked for, before the
    ledger was read. ``held``: tokens that live clients hold (this one or others). ``stays``: a
    machine that shuts itself down there is still paid for. ``origins``: the provider tells every
    instance's origin, so that an empty one is no accident. ``ends``: orphans may be ended.
    """

    provider: str
    regions: tuple[str, ...]
    seen: tuple[Seen, ...]
    asked: float
    held: Collection[str] = ()
    stays: bool = False
    origins: bool = False
    ends: bool = True


class Closing(NamedTuple):
    """The client ends: what it is not sure of is looked for once more, what it gave up is seen to
    end."""

    token: str


Event = (
    Wanted
    | Launched
    | LaunchFailed
    | Found
    | Looked
    | LookFailed
    | Reached
    | Adopted
    | GaveUp
    | Released
    | Ended
    | Lost
    | Noticed
    | EndAccepted
    | EndFailed
    | Listed
    | Closing
)

# --- what is to be done ---------------------------------------------------------------------
# ``at``: not before this second. The answer comes back as an event.


class Launch(NamedTuple):
    """Ask the cloud for it, with this token: Launched or LaunchFailed."""

    token: str
    at: float


class Find(NamedTuple):
    """Look for it by its tag: Found."""

    token: str
    at: float


class Look(NamedTuple):
    """Look at it by its id: Looked or LookFailed."""

    token: str
    id: str
    at: float


class End(NamedTuple):
    """Ask the cloud to end it, while holding its lock: EndAccepted or EndFailed."""

    token: str
    id: str
    at: float


class Replace(NamedTuple):
    """Ask for another one in its place now, while it still works."""

    run: str
    node: int
    token: str


class Refuse(NamedTuple):
    """Tell the caller that there will be none. ``why``: ``refused`` | ``unsure`` | ``late`` |
    ``ended`` | ``cap`` (too many live) | ``launches`` (too many made) | ``taken`` (the token)."""

    token: str
    why: str


class Tell(NamedTuple):
    """Tell the user. ``what``: ``forged`` | ``shrunk`` (a list is not believed) | ``many`` (too
    many would be ended at once); ``ids``: which instances."""

    what: str
    provider: str
    ids: tuple[str, ...]


Command = Launch | Find | Look | End | Replace | Refuse | Tell


class Step(NamedTuple):
    """What an event leads to: lives as they are now, to be written before any command is done."""

    changes: tuple[Life, ...] = ()
    commands: tuple[Command, ...] = ()


NOTHING = Step()
