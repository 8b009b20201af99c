"""What a campaign has to have met, or it proves less than it says: marks, and how often at least.

A mark that is not met any more means that a fault is not injected, or that a branch of the reducer
cannot be reached: either way the campaign is red.
"""

from __future__ import annotations

FAULTS = (
    "agent_crash",
    "agent_hang",
    "api_down",
    "cancel",
    "clock-step",
    "crash",
    "crash_loop",
    "cut-both",
    "cut-in",
    "deaf",
    "denied",
    "disk_full",
    "duplicate",
    "empty",
    "error",
    "error_acted",
    "fails_after",
    "foreign",
    "forged",
    "ghost",
    "killed_at_birth",
    "ledger_lost",
    "lose_reply",
    "lose_request",
    "never_returns",
    "no_agent",
    "no_boot",
    "not_visible",
    "offline",
    "partial",
    "preempt-0",
    "preempt-120",
    "preempt-30",
    "quota",
    "result-twice",
    "second_owner",
    "short",
    "skew",
    "sleep",
    "sleep-long",
    "storm",
    "throttle",
    "write_failure",
)
"""Every kind of fault."""

WAYS = (
    "adopt-booting",
    "adopt-held",
    "adopt-idle",
    "deadman",
    "do:Closing:Find",
    "do:Closing:Look",
    "do:EndAccepted:Look",
    "do:EndFailed:End",
    "do:Ended:End",
    "do:Found:Look",
    "do:Found:Refuse-unsure",
    "do:GaveUp:End",
    "do:LaunchFailed:Find",
    "do:LaunchFailed:Launch",
    "do:LaunchFailed:Refuse-refused",
    "do:Launched:Look",
    "do:Listed:End",
    "do:Listed:Look",
    "do:Listed:Tell-forged",
    "do:Listed:Tell-shrunk",
    "do:LookFailed:End",
    "do:LookFailed:Look",
    "do:Looked:End",
    "do:Looked:Look",
    "do:Looked:Refuse-ended",
    "do:Looked:Refuse-late",
    "do:Lost:End",
    "do:Noticed:Replace",
    "do:Wanted:Launch",
    "do:Released:End",
    "do:Wanted:Refuse-cap",
    "do:Wanted:Refuse-launches",
    "input-given-up",
    "ladder-empty",
    "life:Adopted:idle>held",
    "life:Ended:draining>ending",
    "life:Found:intended>unsure",
    "life:GaveUp:booting>ending",
    "life:GaveUp:held>ending",
    "life:GaveUp:intended>unsure",
    "life:LaunchFailed:intended>refused",
    "life:Launched:intended>booting",
    "life:Listed:booting>ending",
    "life:Listed:gone>ending",
    "life:Listed:held>ending",
    "life:Listed:idle>ending",
    "life:Listed:intended>booting",
    "life:Listed:intended>unsure",
    "life:Listed:new>booting",
    "life:Listed:unsure>booting",
    "life:Listed:unsure>gone",
    "life:Looked:booting>ending",
    "life:Looked:booting>gone",
    "life:Looked:ending>gone",
    "life:Looked:held>gone",
    "life:Looked:idle>gone",
    "life:Lost:held>ending",
    "life:Noticed:held>draining",
    "life:Reached:booting>held",
    "life:Released:held>idle",
    "life:Wanted:new>intended",
    "lost",
    "reaper-elsewhere",
    "reaper-here",
    "self-end-billed",
    "self-end-gone",
    "self-end-stopped",
    "token-of-ended",
    "verdict-foreign",
    "verdict-live",
    "verdict-orphan",
    "verdict-warm",
)
"""Every way through the reducer and the reaper that a small campaign can be expected to go."""

RARE = ("verdict-expired",)
"""Asked for in campaigns of a thousand seeds and more: a reaper elsewhere, a machine that answers
nothing, and nobody who was quicker."""
SMALLEST = 500
"""Seeds from which on a campaign is asked for all of them."""
PER_SEEDS = 1000
"""Seeds of a campaign in which each of these is met at least once; more, more often."""


def unmet(marks: dict[str, int], seeds: int) -> list[str]:
    """What a campaign of so many seeds has met too rarely."""
    least = max(1, seeds // PER_SEEDS) if seeds >= SMALLEST else 0
    wanted = [f"fault:{name}" for name in FAULTS] + list(WAYS)
    wanted += RARE if seeds >= PER_SEEDS else ()
    return [name for name in wanted if marks.get(name, 0) < least]
