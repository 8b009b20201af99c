"""What may go wrong, and how often: drawn for each seed, many of them not at all."""

from __future__ import annotations

import random
from typing import NamedTuple


class Knobs(NamedTuple):
    """The faults of one seed. Shares are of 1, means and lengths are seconds, 0 is never.

    Swarm testing: a mix in which many are zero gives the rare combinations room.
    """

    # --- requests to clouds
    lose_request: float = 0.0
    lose_reply: float = 0.0
    duplicate: float = 0.0
    error: float = 0.0
    error_acted: float = 0.0
    slow: float = 0.0
    throttle: float = 0.0
    storm: float = 0.0
    api_down: float = 0.0
    denied: float = 0.0
    # --- what clouds have, and what they tell
    short: float = 0.0
    quota: int = 0
    list_lag: float = 0.0
    ghost: float = 0.0
    partial: float = 0.0
    empty: float = 0.0
    deaf: float = 0.0
    slow_end: float = 0.0
    fails_after: float = 0.0
    # --- machines
    no_boot: float = 0.0
    no_agent: float = 0.0
    agent_crash: float = 0.0
    agent_hang: float = 0.0
    disk_full: float = 0.0
    spot: float = 0.0
    killed_at_birth: float = 0.0
    mortal: bool = True
    # --- the network
    cut: float = 0.0
    cut_length: float = 30.0
    one_way: float = 0.0
    offline: float = 0.0
    offline_length: float = 60.0
    # --- the client's computer
    crash: float = 0.0
    crash_loop: float = 0.0
    downtime: float = 30.0
    never_returns: bool = False
    write_failure: float = 0.0
    cancel: float = 0.0
    skew: float = 0.0
    step: float = 0.0
    sleep: float = 0.0
    sleep_length: float = 600.0
    ledger_lost: float = 0.0
    # --- others
    clients: int = 1
    second_owner: bool = False
    foreign: int = 0
    forged: int = 0
    reaper: float = 0.0


CALM = Knobs()


def draw(rng: random.Random) -> Knobs:
    """The faults of one seed."""
    pick = rng.choice
    return Knobs(
        lose_request=pick((0, 0, 0.02, 0.15)),
        lose_reply=pick((0, 0, 0.02, 0.2)),
        duplicate=pick((0, 0, 0, 0.1)),
        error=pick((0, 0, 0.02, 0.1)),
        error_acted=pick((0, 0, 0, 0.1)),
        slow=pick((0, 0, 0.1)),
        throttle=pick((0, 0, 0.05, 0.3)),
        storm=pick((0, 0, 0, 1500)),
        api_down=pick((0, 0, 0, 1500)),
        denied=pick((0, 0, 0, 0, 2000)),
        short=pick((0, 600, 120)),
        quota=pick((0, 0, 0, 4)),
        list_lag=pick((0, 2, 30, 90)),
        ghost=pick((0, 0, 30, 90)),
        partial=pick((0, 0, 0, 0.1)),
        empty=pick((0, 0, 0, 0.1)),
        deaf=pick((0, 0, 0.05, 0.2)),
        slow_end=pick((0, 0, 0.2)),
        fails_after=pick((0, 0, 0.05)),
        no_boot=pick((0, 0, 0.05, 0.15)),
        no_agent=pick((0, 0, 0.05, 0.2)),
        agent_crash=pick((0, 0, 1800)),
        agent_hang=pick((0, 0, 0, 1800)),
        disk_full=pick((0, 0, 0, 0.1)),
        spot=pick((0, 3600, 900)),
        killed_at_birth=pick((0, 0, 0, 0, 0, 0, 0, 0.8)),
        mortal=rng.random() < 0.7,
        cut=pick((0, 0, 1800, 500)),
        cut_length=pick((10, 60, 300, 1500)),
        one_way=pick((0, 0, 0.5)),
        offline=pick((0, 0, 0, 1200)),
        offline_length=pick((20, 120, 900)),
        crash=pick((0, 0, 1200, 240)),
        crash_loop=pick((0, 0, 0, 0.5)),
        downtime=pick((5, 60, 900)),
        never_returns=rng.random() < 0.1,
        write_failure=pick((0, 0, 0, 0, 0.002)),
        cancel=pick((0, 0, 0, 900)),
        skew=pick((0, 0, 0, -600, 600)),
        step=pick((0, 0, 0, 1200)),
        sleep=pick((0, 0, 0, 2500)),
        sleep_length=pick((60, 600, 28800)),
        ledger_lost=pick((0, 0, 0, 0, 0.3)),
        clients=pick((1, 1, 1, 2)),
        second_owner=rng.random() < 0.25,
        foreign=pick((0, 0, 0, 50)),
        forged=pick((0, 0, 0, 3)),
        reaper=pick((0, 0, 600)),
    )
