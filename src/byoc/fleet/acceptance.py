"""Before anything runs on a new machine with GPUs: are they there, the right ones, and sound?

The machine is sent :mod:`byoc.runtime_agent.acceptance` over its first connection and answers with
facts; :func:`judge` compares them with the offer. Nothing is rented here and nothing ended.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .. import runtime_agent
from ..clock import Clock
from ..errors import BadHostError, BuiltinTimeoutError, CancelledError, InstanceError
from ..pricing import gpus
from ..resources import Offer
from ..transport.ssh import Connection
from .ports import SLICE, Stop

LIMIT = 45.0
"""Seconds until the machine must have answered. Its program bounds each of its steps, together half
a minute; one that says nothing for longer hangs as a whole."""
LEAST_MEMORY = 0.9
"""Share of the nominal memory that a GPU must show. Where error correction shares its memory it
takes a sixteenth (an A10G of 24576 MiB shows 23028), and the driver keeps some for itself; the
next smaller model of any GPU has three quarters at most."""
SHOWN = 3
"""Findings that the error's message has; all are in ``findings``."""
_MOST = 1024 * 1024
"""Bytes of an answer that are read; a real one has a few thousand."""

XIDS: Mapping[int, str] = {
    46: "the GPU stopped working",
    48: "an uncorrectable memory error",
    54: "its power cable is not connected",
    61: "its controller broke down",
    62: "its controller halted",
    64: "a broken memory row could not be replaced",
    74: "an NVLink error",
    79: "it fell off the bus",
    94: "a contained memory error",
    95: "an uncontained memory error",
    109: "a context switch timed out",
    110: "a security fault",
    119: "its system processor does not answer",
    120: "its system processor failed",
    121: "an error on the link to its processor",
    123: "a controller of its power failed",
    136: "an NVLink could not be trained",
    140: "an uncorrectable memory error",
    143: "it could not be started",
    145: "an NVLink error",
    149: "an NVLink error",
    155: "an NVLink error",
    156: "a part of it was retired",
    158: "a fatal timeout",
}
"""What the driver reports of hardware (https://docs.nvidia.com/deploy/xid-errors/). Not here: what
programs cause (13, 31, 43, 45, 68), and 63 and 92, which say that a memory row is being replaced:
whether that needs a reset is asked for itself."""
_XID = re.compile(r"Xid \((?:PCI:)?([0-9A-Fa-f:.]+)\): (\d+)")
_TROUBLE = {
    "no-device": "it has no GPU",
    "no-tool": "NVIDIA's driver is not installed",
    "no-driver": "NVIDIA's driver does not run",
    "mismatch": "NVIDIA's driver and its libraries differ",
    "hang": "NVIDIA's driver hangs",
    "lost": "a GPU is lost",
    "failed": "NVIDIA's driver fails",
}
_OF_IMAGE = frozenset({"no-tool", "no-driver", "mismatch"})
"""Kinds of trouble that a machine image has, and then on every host."""


class Finding(NamedTuple):
    """One thing that is wrong. ``kind``: what it was found by (``count``, ``name``, ``memory``,
    ``ecc``, ``rows``, ``xid``, ``cuda``, or a kind of trouble with the driver)."""

    kind: str
    message: str


class Examined(NamedTuple):
    """What became of an examination: what is wrong, and one line on all of it."""

    findings: tuple[Finding, ...]
    summary: str


class Case(NamedTuple):
    """Whom to examine. ``offer``: what was promised; ``python``: of the machine; ``own_image``: the
    user has chosen the machine image."""

    id: str
    offer: Offer
    python: str
    own_image: bool


def accept(connection: Connection, case: Case, clock: Clock, stop: Stop) -> str:
    """Examine a machine; one line about what was seen.

    Raises BadHostError when it is not what was offered or is broken, CancelledError when told to
    stop, ConnectionLostError when the connection breaks.
    """
    begun = clock.mono()
    report = ask(connection, case, clock, stop)
    found = judge(report, case.offer)
    if not found.findings:
        return f"{found.summary}, {clock.mono() - begun:.1f} s"
    raise _refusal(case, found.findings)


def ask(connection: Connection, case: Case, clock: Clock, stop: Stop) -> Mapping[str, Any]:
    """The machine's report. Raises as :func:`accept`."""
    wanted = json.dumps({"count": case.offer.gpu_count})
    words = (*shlex.split(case.python), "-I", "-", wanted)
    deadline = clock.mono() + LIMIT
    stream = connection.exec("exec " + " ".join(map(shlex.quote, words)), program())
    try:
        stream.write_eof()
        data = b""
        while len(data) < _MOST:
            try:
                piece = stream.read(65536, SLICE)
            except BuiltinTimeoutError:
                if stop():
                    raise CancelledError("cancelled while its GPUs were examined") from None
                if clock.mono() > deadline:
                    raise _silent(case) from None
                continue
            if not piece:
                break
            data += piece
        printed = stream.stderr()
    finally:
        stream.close()
    return _parsed(data, printed)


def _parsed(data: bytes, printed: str) -> Mapping[str, Any]:
    """The report is the last line; what a login prints may stand before it."""
    for line in reversed(data.decode("utf-8", "replace").splitlines()):
        if line.startswith("{"):
            try:
                report = json.loads(line)
            except ValueError:
                break
            if isinstance(report, dict) and isinstance(report.get("gpus"), list):
                return report
    last = (printed.strip().splitlines() or [data[-200:].decode("utf-8", "replace")])[-1]
    raise InstanceError(
        f"its GPUs could not be examined: {last.strip()[:200] or 'it said nothing'}",
        hints=("to take GPUs unseen: set accept_gpus to false",),
    )


def _silent(case: Case) -> BadHostError:
    hangs = Finding("hang", f"the examination of its GPUs did not end within {LIMIT:.0f} s")
    return _refusal(case, (hangs,))


def _refusal(case: Case, findings: Sequence[Finding]) -> BadHostError:
    texts = tuple(one.message for one in findings)
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    image = case.own_image and any(one.kind in _OF_IMAGE for one in findings)
    unseen = "to take GPUs unseen: set accept_gpus to false"
    setting = f"{case.offer.cloud}.image"
    remedy = f"leave out {setting}, or name an image that has NVIDIA's driver in it"
    return BadHostError(
        f"instance {case.id} was not accepted: {'; '.join(texts[:SHOWN])}{more}",
        findings=texts,
        image=image,
        hints=(remedy, unseen) if image else (unseen,),
        done="it was ended at once",
    )


@cache
def program() -> bytes:
    """The text that the machine runs."""
    return Path(runtime_agent.__file__).with_name("acceptance.py").read_bytes()


# --- judging ------------------------------------------------------------------------------------


def judge(report: Mapping[str, Any], offer: Offer) -> Examined:
    """What is wrong with a machine by its own report, and a line for people. Pure."""
    findings = (
        *_of_driver(report),
        *_of_gpus(report, offer),
        *_of_kernel(report),
        *(Finding("cuda", text) for text in _cuda(report).get("bad", ())),
    )
    return Examined(findings, _summary(report))


def _of_driver(report: Mapping[str, Any]) -> Iterator[Finding]:
    trouble = report.get("trouble")
    if trouble:
        kind, text = str(trouble.get("kind")), str(trouble.get("text", ""))
        yield Finding(kind, f"{_TROUBLE.get(kind, 'its GPUs cannot be asked')} ({text})")


def _of_gpus(report: Mapping[str, Any], offer: Offer) -> Iterator[Finding]:
    found = report["gpus"]
    if len(found) != offer.gpu_count and (found or not report.get("trouble")):
        yield Finding("count", f"it has {len(found)} GPUs, and {offer.gpu_count} were offered")
    for gpu in found:
        yield from _of_one(gpu, offer)


def _of_one(gpu: Mapping[str, Any], offer: Offer) -> Iterator[Finding]:
    label, memory = f"GPU {gpu['index']}", gpu.get("memory")
    seen = gpus.canonical(str(gpu["name"]), memory or 0)
    # a name that our table lacks says nothing: drivers find new ones
    if seen is not None and seen != offer.gpu and offer.gpu:
        yield Finding("name", f"{label} is an {gpu['name']}, and a {offer.gpu} was offered")
    known = gpus.gpu(offer.gpu)
    nominal = offer.gpu_memory or (known.memory if known else 0)
    if memory is not None and memory < LEAST_MEMORY * nominal:
        yield Finding("memory", f"{label} has {memory} MiB of memory, and {nominal} were offered")
    if gpu.get("uncorrected"):
        errors = gpu["uncorrected"]
        yield Finding(
            "ecc", f"{label} has had {errors} uncorrectable memory errors since it booted"
        )
    if gpu.get("retired") or gpu.get("pending"):
        yield Finding("rows", f"{label} has broken memory that only a reset replaces")
    if gpu.get("failed"):
        yield Finding("rows", f"{label} has broken memory that cannot be replaced any more")


def _of_kernel(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Each kind of hardware error once."""
    told = set()
    for line in report.get("kernel") or ():
        match = _XID.search(line)
        number = int(match.group(2)) if match else 0
        if match and number in XIDS and number not in told:
            told.add(number)
            yield Finding("xid", f"Xid {number} at {match.group(1)}: {XIDS[number]}")
    if told or not (report.get("trouble") or not report["gpus"]):
        return
    for line in (report.get("kernel") or ())[-1:]:  # says why there is no driver
        yield Finding("kernel", f"the kernel says: {line[-160:]}")


def _cuda(report: Mapping[str, Any]) -> Mapping[str, Any]:
    return report.get("cuda") or {}


def _summary(report: Mapping[str, Any]) -> str:
    """``8 x NVIDIA H100 80GB HBM3, driver 570.133.20, a multiplication on each``."""
    found = report["gpus"]
    name = found[0]["name"] if found else "no GPU"
    parts = [f"{len(found)} x {name}", f"driver {report.get('driver') or 'unknown'}"]
    cuda = _cuda(report)
    if cuda.get("ok"):
        parts.append(f"{cuda['ok']} of {len(found)} multiplied right")
    elif cuda.get("copied"):
        parts.append(f"{cuda['copied']} of {len(found)} kept what was copied there")
    if cuda.get("skipped"):
        parts.append(f"not multiplied: {cuda['skipped']}")
    if report.get("kernel") is None:
        parts.append("the kernel's log could not be read")
    return ", ".join(parts)
