"""From nothing to the first result of a decorated function: ``byoc run examples/hello.py``.

    python -m benchmarks.first_result [--json] [--reps 7] [--peers]

Cold: no instance; each run boots one, ships the agent, starts a container (the environment is
cached) and ends the instance. Warm: the instance of the run before is attached to. ``--peers``
makes a virtual environment with Dask and Lithops in a temporary folder and takes turns with them:
they start local worker processes and compute one result, without any instance or SSH.
Wall seconds of whole processes; medians, and each peer's ratio to byoc cold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).resolve().parent.parent
HELLO = ROOT / "examples" / "hello.py"
PEERS = {
    "dask": """
import dask, distributed, logging
if __name__ == "__main__":
    logging.disable(logging.WARNING)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    client = distributed.Client(cluster)
    assert client.submit(lambda x: x * x, 5).result() == 25
    client.close(); cluster.close()
""",
    "lithops": """
import lithops, logging
if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    executor = lithops.FunctionExecutor(config={
        "lithops": {"backend": "localhost", "storage": "localhost", "log_level": "CRITICAL",
                    "telemetry": False}, "localhost": {}})
    future = executor.call_async(lambda x: x * x, 5)
    assert executor.get_result(future, show_progressbar=False) == 25
    executor.clean()
""",
}


def timed(argv: list[str], env: dict[str, str]) -> float:
    """Wall seconds of one process, which must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(argv, env=env, capture_output=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stderr.decode()[-2000:]}")
    return seconds


def peers(folder: Path) -> dict[str, Callable[[dict[str, str]], float]]:
    """The peers' programs in an environment of their own."""
    venv = folder / "peers"
    uv = find_uv_bin()
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, venv], check=True)
    install = [uv, "pip", "install", "-q", "--compile-bytecode", "-p", venv / "bin" / "python"]
    subprocess.run([*install, "distributed", "lithops"], check=True)
    found: dict[str, Callable[[dict[str, str]], float]] = {}
    for name, text in PEERS.items():
        script = folder / f"{name}_peer.py"
        script.write_text(text)
        argv = [str(venv / "bin" / "python"), str(script)]
        found[name] = partial(_timed_in, venv, argv)
    return found


def _timed_in(venv: Path, argv: list[str], env: dict[str, str]) -> float:
    """As :func:`timed`, with an environment's programs first on PATH."""
    return timed(argv, {**env, "PATH": f"{venv / 'bin'}:{env['PATH']}"})


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="byoc-bench-") as name:
        folder = Path(name)
        env = {**os.environ, "BYOC_HOME": str(folder / "home"), "HOME": str(folder)}
        byoc = [sys.executable, "-m", "byoc", "run", "--quiet"]
        systems: dict[str, Callable[[dict[str, str]], float]] = {
            "byoc cold": lambda env: timed([*byoc, "--no-keep", str(HELLO)], env),
            "byoc warm": lambda env: _warm([*byoc, str(HELLO)], env),
        }
        if options.peers:
            systems |= peers(folder)
        for run in systems.values():  # fill caches: environment, bytecode, pages
            run(env)
        seconds: dict[str, list[float]] = {system: [] for system in systems}
        for _ in range(options.reps):
            for system, run in systems.items():
                seconds[system].append(run(env))
        subprocess.run([*byoc[:3], "down", "--all", "--quiet"], env=env, check=False)
    report(seconds, options.json)


def _warm(argv: list[str], env: dict[str, str]) -> float:
    """A run with the instance warm; the run that warms it is not counted."""
    timed(argv, env)
    seconds = timed(argv, env)
    subprocess.run(
        [sys.executable, "-m", "byoc", "down", "--all"], env=env, check=True, capture_output=True
    )
    return seconds


def report(seconds: dict[str, list[float]], as_json: bool) -> None:
    """The table, or the same as JSON."""
    base = statistics.median(seconds["byoc cold"])
    rows = {
        name: {
            "median_s": round(statistics.median(values), 3),
            "min_s": round(min(values), 3),
            "max_s": round(max(values), 3),
            "ratio_to_byoc_cold": round(statistics.median(values) / base, 2),
        }
        for name, values in seconds.items()
    }
    if as_json:
        print(json.dumps({"load": os.getloadavg()[0], "rows": rows}))
        return
    print(f"load average {os.getloadavg()[0]:.1f}; wall seconds of whole processes")
    print(f"{'':12} {'median':>8} {'min':>8} {'max':>8} {'x byoc cold':>12}")
    for name, row in rows.items():
        print(
            f"{name:12} {row['median_s']:8.3f} {row['min_s']:8.3f} {row['max_s']:8.3f} "
            f"{row['ratio_to_byoc_cold']:12.2f}"
        )


if __name__ == "__main__":
    main()
