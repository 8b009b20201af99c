"""What ``shutdown``, ``poweroff`` and their like ask of a machine's init."""

from __future__ import annotations

import time

OFF, RESTART, CANCEL = "off", "restart", "cancel"
_AT_ONCE = {"poweroff": OFF, "halt": OFF, "reboot": RESTART}


def understood(words: list[str], now: float | None = None) -> tuple[str, float]:
    """What to do, and in how many seconds; an empty text when nothing is asked for.

    ``words``: the command and its arguments. ``now``: seconds since the epoch.
    """
    name, args = words[0], words[1:]
    if name in _AT_ONCE:
        return _AT_ONCE[name], 0.0
    if name == "systemctl":
        verb = next((word for word in args if not word.startswith("-")), "")
        return _AT_ONCE.get(verb, ""), 0.0
    if name in ("init", "telinit"):
        return {"0": OFF, "6": RESTART}.get(args[0] if args else "", ""), 0.0
    return _shutdown(args, time.time() if now is None else now) if name == "shutdown" else ("", 0.0)


def _shutdown(args: list[str], now: float) -> tuple[str, float]:
    action, when = OFF, ""
    for word in args:
        if word == "-c":
            return CANCEL, 0.0
        if word in ("-r", "--reboot"):
            action = RESTART
        elif word == "-k":
            action = ""
        elif not word.startswith("-") and not when:
            when = word
    return action, _seconds(when or "+1", now)


def _seconds(when: str, now: float) -> float:
    """``now``, ``+5`` and ``5`` (minutes) or ``23:30``, as seconds from now."""
    if when == "now":
        return 0.0
    hours, colon, minutes = when.partition(":")
    try:
        if not colon:
            return 60.0 * int(when.lstrip("+"))
        clock = time.localtime(now)
        wanted = 3600 * int(hours) + 60 * int(minutes)
    except ValueError:
        return 0.0
    return float((wanted - 3600 * clock.tm_hour - 60 * clock.tm_min - clock.tm_sec) % 86400)
