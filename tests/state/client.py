"""Another process that uses a journal.

``attempts HOME RUN COUNT``, ``owner HOME``, or ``intent HOME``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from byoc.clock import SYSTEM
from byoc.resources import Offer
from byoc.state import Intent, Journal

OFFER = Offer("sim", "region", "zone", "type", "on-demand", 1.5, 4, 8192)


def intent(token: str = "t1", **more: object) -> Intent:
    return Intent(token, "sim", OFFER, {"byoc-run": "r"}, "key", "r", 1.0, 2.0, **more)  # type: ignore[arg-type]


def main() -> None:
    command, home, *rest = sys.argv[1:]
    journal = Journal.open(Path(home), SYSTEM)
    if command == "attempts":
        for _ in range(int(rest[1])):
            journal.open_attempt(rest[0], "sim", OFFER.key(), SYSTEM.wall())
    elif command == "owner":
        print(journal.owner, journal.recovered)
    elif command == "intent":
        journal.open_intent(intent())
        os._exit(9)  # as hard as a SIGKILL: nothing is flushed or closed
    journal.close()


if __name__ == "__main__":
    main()
