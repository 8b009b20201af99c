"""What 200 instances cost the one client that is connected to them.

    python -m benchmarks.many [--json] [--rounds 3] [--instances 200] [--idle 20]

One real sshd on loopback; byoc's real connections and agent links to it, 32 made at a time. The far
ends of their channels are one process that answers the wire protocol for all instances: 200 agents
would run on 200 machines, not beside the client, so what they burn is not its cost. The sshd's cost
is in the time to connect (it forks for each), in nothing else. ``one first``: a first connection is
made and ended before anything is counted, so that what is loaded once is in ``memory`` and not in
``growth``. Idle: keep-alives, their answers, and the renewal of leases. The peer is paramiko as it
comes, an authenticated connection with one silent channel. In turns; medians.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from benchmarks import harness
from benchmarks.harness import BYOC, ENGINES, Bench, Mark, Report
from byoc.transport import keys
from tests.transport.sshd import Sshd

PARAMIKO = "paramiko as it comes"
SCRIPTS = {BYOC: "connect_byoc.py", PARAMIKO: "connect_paramiko.py"}
SECONDS, MEMORY_MIB, IDLE_PERCENT = 2.0, 85.8, 0.5
"""90 MB are 85.8 MiB."""
Found = dict[str, list[dict[str, Any]]]


@contextlib.contextmanager
def far_side(bench: Bench) -> Iterator[tuple[str, ...]]:
    """An sshd and the agents; the words that tell a client of them."""
    folder = bench.folder / "many"
    folder.mkdir()
    identity = keys.ensure_identity(folder)
    host_key = keys.new_host_key()
    (folder / "host_key.pub").write_text(host_key.public)
    path = folder / "agents"
    words = [sys.executable, str(ENGINES / "agents.py"), str(path)]
    with contextlib.ExitStack() as stack:
        sshd = Sshd(folder / "sshd", host_key, identity.public, extra="MaxSessions 1000\n")
        stack.callback(sshd.stop)
        env = bench.environment(BYOC, numpy=False)
        agents = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        stack.callback(agents.wait)
        stack.callback(agents.kill)
        assert agents.stdout is not None
        agents.stdout.readline()
        yield str(folder), str(sshd.port), str(path)


def measure(bench: Bench, options: argparse.Namespace) -> Found:
    """Answers of each client."""
    found: Found = defaultdict(list)
    with far_side(bench) as words:
        for _ in range(options.rounds):
            for name, script in SCRIPTS.items():
                with bench.engine(BYOC, script=(script, *words)) as engine:
                    bench.wait()
                    answer = engine.ask("connect", n=options.instances)
                    answer |= engine.ask("idle", seconds=options.idle)
                    found[name].append(answer)
    return found


def report(found: Found, instances: int) -> Report:
    """The table and the marks."""
    columns = {
        "engine": f"{instances} connections",
        "seconds": "connected s",
        "cpu_s": "client CPU s",
        "peak_mib": "memory MiB",
        "grown_mib": "growth MiB",
        "threads": "threads",
        "idle_percent": "idle % of a core",
    }
    rows: list[dict[str, Any]] = []
    middle: dict[str, dict[str, float]] = {}
    for name, answers in found.items():
        figures = [key for key in columns if key != "engine"]
        row = {key: float(statistics.median(a[key] for a in answers)) for key in figures}
        middle[name] = row
        rows.append({"engine": name, **row})
    ours = middle[BYOC]
    marks = [
        Mark("all connected", ours["seconds"], SECONDS, unit="s"),
        Mark("memory, all of it", ours["peak_mib"], MEMORY_MIB, unit="MiB"),
        Mark("idle", ours["idle_percent"], IDLE_PERCENT, unit="% of a core"),
    ]
    return Report("many", columns, rows, marks)


def main() -> None:
    """Measure and print."""
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--instances", type=int, default=200, help="connections")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of doing nothing")
    options = parser.parse_args()
    with harness.bench(options) as bench:
        found = report(measure(bench, options), options.instances)
        found.busy = bench.busy
    found.show(options.json)


if __name__ == "__main__":
    main()
