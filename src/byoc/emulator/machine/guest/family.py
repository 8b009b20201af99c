"""A machine's processes, seen from the host: all of them, or those that speak SSH."""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ROUNDS = 50
"""Looks for processes that were started while others were stopped; two are usual."""
SERVER = "sshd"


def _stat(pid: int) -> tuple[str, int]:
    """Name and parent of a process; empty and 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return "", 0
    name = text[text.index(b"(") + 1 : text.rindex(b")")].decode(errors="replace")
    fields = text[text.rindex(b")") + 2 :].split()
    return ("", 0) if fields[0] in (b"Z", b"X") else (name, int(fields[1]))


def _below(root: int) -> dict[int, tuple[str, int]]:
    """Every living process below one, itself included: pid -> name, parent."""
    everyone = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    children: dict[int, list[int]] = {}
    for pid, (_, parent) in everyone.items():
        children.setdefault(parent, []).append(pid)
    found, queue = {}, [root]
    while queue:
        pid = queue.pop()
        if everyone.get(pid, ("", 0))[0]:
            found[pid] = everyone[pid]
            queue += children.get(pid, ())
    return found


def tree(root: int) -> set[int]:
    """A machine's init and all below it; orphans of a machine are its init's children."""
    return set(_below(root))


def servers(root: int) -> set[int]:
    """The SSH servers of a machine: they have the connections, and the rest of it has none."""
    return {pid for pid, (name, _) in _below(root).items() if name.startswith(SERVER)}


def stop(find: Callable[[], set[int]]) -> None:
    """Stop what ``find`` finds, until it finds nothing new."""
    stopped: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = find() - stopped
        if not fresh:
            return
        _send(fresh, signal.SIGSTOP)
        stopped |= fresh


def go_on(pids: Iterable[int]) -> None:
    """Let processes continue."""
    _send(pids, signal.SIGCONT)


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
