"""How fast a large array gets to a function and back, against what SSH itself moves.

    python -m benchmarks.payload [--json] [--rounds 3] [--mb 100] [--rtt 0 100] [--peers]

byoc: a numpy array as the argument of ``.remote()``, touched in every page by the function, and one
as its result, touched in every page by the caller; a local instance, met through SSH. Its peer in
the same run: OpenSSH's ``ssh -L`` through an sshd of the same host with the same AES-GCM, which
only moves as many bytes. At a distance (``--rtt``, milliseconds) a proxy process delays each
direction before both; there ``ssh -L`` is what one channel can do. With ``--peers`` also Ray and
Dask, which send nothing through SSH. byoc and ``ssh -L`` take turns transfer by transfer; the other
peers run alone. ``client grows``: how far the peak of the client's memory rose during the transfer,
in units of the array; a result that is kept is 1. ``client MiB`` and ``container MiB``: the most
memory that the client, and the container with the argument, had in all, Python, numpy and one array
included. Medians over all transfers.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections import defaultdict
from typing import Any

from benchmarks import harness
from benchmarks.harness import ACTOR, BYOC, DASK, POOL, RAY, Bench, Engine, Mark, Report

SSH = "ssh -L, AES-GCM"
NEAR, FAR = 0.8, 5.0
"""Times what ``ssh -L`` moves: on loopback, and at a distance where it is one channel."""
MIB = 1024 * 1024
WAYS = ("argument", "result")
WARM = 3
"""Transfers each way before those that count: TCP's windows grow, and for a moment after its start
byoc loads ahead what containers will want."""
Found = dict[str, dict[str, list[dict[str, Any]]]]
"""Answers, by engine and direction."""


def transfers(engines: dict[str, Engine], size: int, warm: int, repeat: int) -> Found:
    """Each direction ``repeat`` times by each engine, in turns, after ``warm`` times uncounted."""
    found: Found = defaultdict(lambda: {what: [] for what in WAYS})
    for turn in range(warm + repeat):
        for what in WAYS:
            for name, engine in engines.items():
                answer = engine.ask(what, size=size)
                if turn >= warm:
                    found[name][what].append(answer)
    return found


def measure(bench: Bench, options: argparse.Namespace) -> dict[float, Found]:
    """Answers of each engine, by round-trip time and direction."""
    found: dict[float, Found] = {}
    size = options.mb * 1_000_000
    for rtt in options.rtt:
        mine = found[rtt] = defaultdict(lambda: {what: [] for what in WAYS})
        words = ("--delay", str(rtt / 2)) if rtt else ()
        alone = [] if rtt else bench.systems(POOL, RAY, ACTOR, DASK)
        warm, repeat = (1, 2) if rtt else (WARM, options.repeat)
        for _ in range(options.rounds):
            for names in [(BYOC, SSH), *((name,) for name in alone)]:
                with contextlib.ExitStack() as stack:
                    engines = {}
                    for name in names:
                        script = ("ssh_forward.py",) if name == SSH else ()
                        made = bench.engine(name, *words, script=script, numpy=name != SSH)
                        engines[name] = stack.enter_context(made)
                    bench.wait()
                    for name, ways in transfers(engines, size, warm, repeat).items():
                        for what, answers in ways.items():
                            mine[name][what] += answers
    return found


def report(found: dict[float, Found], mb: int) -> Report:
    """The table and the marks."""
    columns = {
        "engine": "MB/s",
        "rtt": "RTT ms",
        "argument": "argument",
        "result": "result",
        "argument_x": "x ssh",
        "result_x": "x ssh",
        "argument_grows": "client grows",
        "result_grows": "client grows",
        "client_mib": "client MiB",
        "far_mib": "container MiB",
    }
    rates = {
        (rtt, name): {
            what: mb / statistics.median(answer["seconds"] for answer in answers)
            for what, answers in ways.items()
        }
        for rtt, engines in found.items()
        for name, ways in engines.items()
    }
    rows, marks = [], []
    for (rtt, name), rate in rates.items():
        row: dict[str, Any] = {"engine": name, "rtt": rtt, **rate}
        for what, answers in found[rtt][name].items():
            row[f"{what}_x"] = rate[what] / rates[rtt, SSH][what]
            peaks = [a["peak_mib"] * MIB / (mb * 1e6) for a in answers if "peak_mib" in a]
            row[f"{what}_grows"] = harness.median(peaks)
        every = [answer for each in found[rtt][name].values() for answer in each]
        for key in ("client_mib", "far_mib"):
            row[key] = max((a[key] for a in every if a.get(key)), default=None)
        rows.append(row)
        if name == BYOC:
            least = FAR if rtt else NEAR
            marks += [
                Mark(f"{what} over ssh -L at {rtt:g} ms", row[f"{what}_x"], least, True, "x")
                for what in ("argument", "result")
            ]
        if name == BYOC and not rtt:
            marks.append(
                Mark("client grows for an argument", row["argument_grows"], 0.1, unit="arrays")
            )
            marks.append(Mark("client grows for a result", row["result_grows"], 1.1, unit="arrays"))
    return Report("payload", columns, rows, marks)


def main() -> None:
    """Measure and print."""
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--mb", type=int, default=100, help="size of the array, 10^6 bytes")
    parser.add_argument("--rtt", type=float, nargs="*", default=[0.0, 100.0], help="milliseconds")
    parser.add_argument("--repeat", type=int, default=7, help="transfers each way in a round")
    options = parser.parse_args()
    with harness.bench(options) as bench:
        found = report(measure(bench, options), options.mb)
        found.busy = bench.busy
    found.show(options.json)


if __name__ == "__main__":
    main()
