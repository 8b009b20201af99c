"""How long until a freshly shipped agent answers on an instance whose sshd is reachable.

    python -m benchmarks.ship [--json] [--reps 9] [--rtt 0 100]

Starts an sshd of its own on loopback and, for each round-trip time, takes turns between byoc and
its peers: each connects, ships the agent to a home folder without one, starts it, and reads its
first answer. All ship the same bundle and have it ready; paramiko is loaded before the clock runs.
A relay on loopback stands for the distance. It cannot delay TCP's own connect, so one round trip
is added to each count of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from byoc.clock import IDS
from byoc.runtime_agent import bundle
from byoc.transport import keys
from byoc.transport.ssh import connect
from byoc.wire import VERSION
from tests.helpers import gone, processes_with
from tests.relay import Relay
from tests.transport.sshd import USER, Sshd

READ = 65536
END = ("true",)
"""What the agent would run to end its machine."""


@dataclass
class Bench:
    """An sshd, the bundle, and a remote home folder that is empty before each turn."""

    folder: Path
    python: str

    def __post_init__(self) -> None:
        self.port = 0
        self.finished = 0.0
        self.home = self.folder / "remote"
        self.identity = keys.ensure_identity(self.folder)
        self.bundle = bundle.build()
        self.shipment = self.folder / "shipment"
        self.shipment.write_bytes(self.bundle.stdin)
        self.sshd = Sshd(
            self.folder / "sshd",
            keys.new_host_key(),
            self.identity.public,
            environment=f"HOME={self.home}",
        )
        self.known = self.folder / "known_hosts"

    def at(self, port: int) -> None:
        """Talk to ``port``, which leads to the sshd."""
        self.port = port
        name = f"[{self.sshd.address}]:{port}"
        self.known.write_text(f"{name} {self.sshd.host_key.public}\n")

    def answered(self) -> None:
        """The agent has answered: what follows is not measured."""
        self.finished = time.perf_counter()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """An empty remote home; what was started in it is ended."""
        self.home.mkdir()
        try:
            yield
        finally:
            for process in processes_with(str(self.home)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            gone(str(self.home))
            shutil.rmtree(self.home)

    @property
    def hello(self) -> bytes:
        """The client's first line, as byoc sends it."""
        word = {
            "v": VERSION,
            "session": IDS.new("s"),
            "received": 0,
            "takeover": True,
            "end": END,
            "ttl": 60,
        }
        return json.dumps(word).encode() + b"\n"

    @property
    def run_file(self) -> str:
        """The command that starts a shipment which lies in the remote home."""
        return f"cat {self.home}/shipment - | {self.bundle.command(self.python)}"

    def options(self) -> list[str]:
        """ssh's own defaults but for who and where."""
        pairs = {
            "IdentityFile": self.identity.path,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self.known,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "Port": self.port,
        }
        return ["-F", "none", *(f"-o{key}={value}" for key, value in pairs.items())]


def byoc(bench: Bench) -> None:
    """byoc: the steps of the engine's first contact."""
    line = bench.sshd.host_key.public
    connection = connect(bench.sshd.address, bench.port, USER, bench.identity, line)
    command = bench.bundle.command(bench.python)
    stream = connection.exec(command, bench.bundle.stdin + bench.hello)
    answer = b""
    while not answer.endswith(b"\n"):
        part = stream.read(READ)
        assert part, stream.stderr()
        answer += part
    assert json.loads(answer)["fresh"]
    bench.answered()
    connection.close()


def openssh_stdin(bench: Bench) -> None:
    """ssh with the shipment on its stdin: the fewest steps that OpenSSH's client allows."""
    command = bench.bundle.command(bench.python)
    speak(bench, command, bench.bundle.stdin + bench.hello)


def scp_ssh(bench: Bench) -> None:
    """scp, then ssh."""
    target = f"{USER}@{bench.sshd.address}:{bench.home}/shipment"
    subprocess.run(["scp", "-q", *bench.options(), str(bench.shipment), target], check=True)
    speak(bench, bench.run_file, bench.hello)


def speak(bench: Bench, command: str, said: bytes) -> None:
    """Run ``command`` by ssh, say something and read a line."""
    words = ["ssh", *bench.options(), f"{USER}@{bench.sshd.address}", command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(said)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["fresh"]
        bench.answered()
        process.kill()


def paramiko_sftp(bench: Bench) -> None:
    """paramiko as its manual shows it: SSHClient, SFTP, exec_command."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(bench.known))
    client.connect(
        bench.sshd.address,
        bench.port,
        USER,
        key_filename=str(bench.identity.path),
        look_for_keys=False,
        allow_agent=False,
    )
    with client.open_sftp() as sftp:
        sftp.put(str(bench.shipment), f"{bench.home}/shipment")
    stdin, stdout, _ = client.exec_command(bench.run_file)
    stdin.write(bench.hello)
    stdin.flush()
    assert json.loads(stdout.readline())["fresh"]
    bench.answered()
    client.close()


METHODS: dict[str, Callable[[Bench], None]] = {
    "byoc": byoc,
    "ssh, agent on stdin": openssh_stdin,
    "scp + ssh": scp_ssh,
    "paramiko SSHClient + SFTP": paramiko_sftp,
}


def measure(bench: Bench, reps: int) -> dict[str, list[float]]:
    """Milliseconds of each method, taken in turns; the first turn is not counted."""
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    for rep in range(reps + 1):
        for name, method in METHODS.items():
            with bench.turn():
                start = time.perf_counter()
                method(bench)
                if rep:
                    times[name].append((bench.finished - start) * 1e3)
    return times


def rows(rtt: float, times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One row a method."""
    ours = statistics.median(times["byoc"])
    found = []
    for name, values in times.items():
        median = statistics.median(values)
        row: dict[str, Any] = {
            "rtt_ms": rtt,
            "method": name,
            "median_ms": round(median, 1),
            "best_ms": round(min(values), 1),
            "worst_ms": round(max(values), 1),
            "ratio": round(median / ours, 2),
            "round_trips": round(median / rtt + 1, 1) if rtt else None,
        }
        found.append(row)
    return found


def table(result: dict[str, Any]) -> str:
    """The rows for a person."""
    lines = [
        f"agent of {result['bundle_bytes']} bytes, {result['reps']} turns each, {result['host']}",
        f"{'RTT ms':>6}  {'method':26} {'median ms':>10} {'best':>7} {'RTTs':>6} {'x byoc':>7}",
    ]
    for row in result["rows"]:
        trips = "" if row["round_trips"] is None else f"{row['round_trips']:.1f}"
        lines.append(
            f"{row['rtt_ms']:6g}  {row['method']:26} {row['median_ms']:10.1f} {row['best_ms']:7.1f}"
            f" {trips:>6} {row['ratio']:7.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Ship an agent and wait for its answer.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--reps", type=int, default=9, help="turns of each method (default 9)")
    parser.add_argument("--rtt", type=float, nargs="*", default=[0.0, 100.0], help="milliseconds")
    parser.add_argument("--python", default=sys.executable, help="the instance's Python")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="byoc-"))
    result: dict[str, Any] = {
        "schema_version": 1,
        "benchmark": "ship",
        "reps": args.reps,
        "host": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "rows": [],
    }
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        bench = Bench(folder, args.python)
        stack.callback(bench.sshd.stop)
        bench.identity.key()
        result["bundle_bytes"] = len(bench.bundle.stdin)
        target = (bench.sshd.address, bench.sshd.port)
        for rtt in args.rtt:
            if not rtt:
                bench.at(bench.sshd.port)
                result["rows"] += rows(rtt, measure(bench, args.reps))
                continue
            with contextlib.closing(Relay(target, delay=rtt / 2e3)) as relay:
                bench.at(relay.address[1])
                result["rows"] += rows(rtt, measure(bench, args.reps))
    print(json.dumps(result) if args.json else table(result))


if __name__ == "__main__":
    main()
