"""What the engine's benchmarks share: options, peers, engines in their own processes, marks.

Each engine runs in a fresh process of its own, and nothing of another one runs beside it. Rounds
take turns between the engines; figures are medians over the rounds. Before each measurement it is
noted how many cores something else keeps busy; ``--patience`` waits for a quiet moment.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from tests.helpers import gone, processes_with

ROOT = Path(__file__).resolve().parent.parent
ENGINES = Path(__file__).resolve().parent / "engines"
QUIET = 0.15
"""Cores that others may keep busy in a moment that counts as quiet."""
LOOK = 0.5
"""Seconds over which that is looked at."""
ANSWER_WAIT = 600.0
BYOC, POOL, RAY, ACTOR, DASK = "byoc", "ProcessPoolExecutor", "Ray task", "Ray actor", "Dask"
PACKAGES = {RAY: "ray", ACTOR: "ray", DASK: "distributed"}
"""What is installed for a peer that Python does not bring along."""
SCRIPTS = {
    BYOC: ("on_byoc.py",),
    POOL: ("on_pool.py",),
    RAY: ("on_ray.py",),
    ACTOR: ("on_ray.py", "actor"),
    DASK: ("on_dask.py",),
}


@dataclass(frozen=True)
class Mark:
    """A figure that must be reached. ``value``: None when it was not measured in this run."""

    name: str
    value: float | None
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def verdict(self) -> str:
        """``PASS``, ``short``, or ``not measured``."""
        if self.value is None:
            return "not measured"
        reached = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "PASS" if reached else "short"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "value": None if self.value is None else round(self.value, 4),
            "must_be": f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}".rstrip(),
            "verdict": self.verdict,
        }


@dataclass
class Report:
    """What one benchmark found: a table of rows, and marks."""

    name: str
    columns: Mapping[str, str]
    """Key of a row -> title, in order; the first one names the row."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def show(self, as_json: bool) -> None:
        """Print it."""
        busy = round(statistics.median(self.busy), 2) if self.busy else 0.0
        head = {
            "schema_version": 1,
            "benchmark": self.name,
            "host": f"{os.cpu_count()} cores, Python {platform.python_version()}",
            "busy_cores_of_others": busy,
        }
        if as_json:
            marks = [mark.as_dict() for mark in self.marks]
            print(json.dumps({**head, "rows": self.rows, "marks": marks, "notes": self.notes}))
            return
        print(f"{head['host']}; others kept {busy:.2f} cores busy (median of looks between rounds)")
        print(table(self.rows, self.columns))
        for note in self.notes:
            print(note)
        for mark in self.marks:
            one = mark.as_dict()
            value = "" if mark.value is None else f"{mark.value:.4g} {mark.unit}".rstrip()
            print(f"{one['verdict']:12}  {mark.name}: {value} (must be {one['must_be']})")


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows for a person; numbers with three or four digits that count."""
    cells = [[_shown(row.get(key)) for key in columns] for row in rows]
    lines = [list(columns.values()), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    shown = []
    for line in lines:
        first, *others = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join([first, *others]).rstrip())
    return "\n".join(shown)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def parser(doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", action="store_true", help="print JSON instead of a table")
    made.add_argument("--rounds", type=int, default=rounds, help=f"turns (default {rounds})")
    made.add_argument("--peers", action="store_true", help="with Ray and Dask, from the index")
    made.add_argument("--peers-dir", type=Path, help="keep their environments here; means --peers")
    made.add_argument(
        "--patience", type=float, default=0.0, help="seconds to wait for a quiet moment, each time"
    )
    return made


# --- the machine ------------------------------------------------------------------------------


def busy_cores() -> float:
    """How many cores were busy during half a second in which we do nothing."""
    before, now = _busy_seconds(), time.monotonic()
    time.sleep(LOOK)
    return (_busy_seconds() - before) / (time.monotonic() - now)


def _busy_seconds() -> float:
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, words[:8])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def quiet(patience: float) -> float:
    """Wait for a quiet moment, at most ``patience`` seconds; the cores that were busy at last."""
    until = time.monotonic() + patience
    while True:
        busy = busy_cores()
        if busy <= QUIET or time.monotonic() > until:
            return busy


def say_load() -> None:
    """Tell the person what else runs here."""
    load = os.getloadavg()[0]
    print(f"load average {load:.2f}", file=sys.stderr)
    if load > 1:
        print(
            "warning: the machine is not quiet; times will be longer than they are", file=sys.stderr
        )


# --- engines ----------------------------------------------------------------------------------


class Engine:
    """One engine's process, which answers commands; see :mod:`benchmarks.engines.driver`."""

    def __init__(
        self, python: str, script: Sequence[str], env: Mapping[str, str], folder: Path
    ) -> None:
        self.script = script
        self._log = folder / f"{Path(script[0]).stem}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, str(ENGINES / script[0]), *script[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(env),
                cwd=folder,
                start_new_session=True,
                text=True,
            )
        self.started = self._answer()["started_s"]

    @property
    def pid(self) -> int:
        """The process that is the client."""
        return self.process.pid

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """One command and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **options}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                found: dict[str, Any] = json.loads(line[len("RESULT ") :])
                return found
        self.process.wait()
        sys.exit(f"{' '.join(self.script)} failed:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Let it end by itself, then end whatever it left in its process group."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Bench:
    """A temporary folder, the peers' environments, and engines that start in them."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.patience: float = options.patience
        self.with_peers: bool = options.peers or options.peers_dir is not None
        self.kept: Path = (options.peers_dir or folder / "peers").resolve()
        self.busy: list[float] = []

    def systems(self, *names: str) -> list[str]:
        """Those that take part in this run."""
        return [name for name in names if self.with_peers or name not in PACKAGES]

    def python(self, name: str) -> str:
        """The interpreter of an engine's environment, installed when it is not there."""
        package = PACKAGES.get(name)
        if package is None:
            return sys.executable
        venv = self.kept / package
        python = venv / "bin" / "python"
        if not (venv / "complete").exists():
            print(f"installing {package}", file=sys.stderr)
            uv = find_uv_bin()
            subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, venv], check=True)
            install = [uv, "pip", "install", "-q", "--compile-bytecode", "-p", str(python)]
            subprocess.run([*install, package, "numpy"], check=True)
            (venv / "complete").touch()
        return str(python)

    def numpy(self) -> Path:
        """A folder with numpy for byoc's client and the pool, which need not have it."""
        target = self.kept / "numpy"
        if not (target / "complete").exists():
            install = [find_uv_bin(), "pip", "install", "-q", "--target", str(target)]
            subprocess.run([*install, "-p", sys.executable, "numpy"], check=True)
            (target / "complete").touch()
        return target

    def environment(self, name: str, numpy: bool) -> dict[str, str]:
        """The caller's, with all that an engine writes below our folder."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        kept = {k: v for k, v in kept.items() if not k.startswith("BYOC_")}
        paths = [str(ENGINES)]
        if name not in PACKAGES:
            paths += [str(ROOT / "src"), str(ROOT), *([str(self.numpy())] if numpy else [])]
        programs = str(Path(self.python(name)).parent)
        return kept | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONPYCACHEPREFIX": str(self.folder / "pycache"),
            "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
            "BYOC_HOME": str(self.folder / "home"),
            "BYOC_KEEP": "0",
            "HOME": str(self.folder),
            "RAY_FOLDER": str(self.folder / "ray"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "PYTHONWARNINGS": "ignore",
        }

    @contextlib.contextmanager
    def engine(
        self,
        name: str,
        *words: str,
        script: Sequence[str] = (),
        numpy: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> Iterator[Engine]:
        """A started engine; ``words`` go to its script. ``more``: variables of its own."""
        env = self.environment(name, numpy)
        line = [*(script or SCRIPTS[name]), *words]
        engine = Engine(self.python(name), line, env | dict(more or {}), self.folder)
        try:
            yield engine
        finally:
            engine.stop()

    def wait(self) -> None:
        """A quiet moment, or what there is of it."""
        self.busy.append(quiet(self.patience))


@contextlib.contextmanager
def bench(options: argparse.Namespace) -> Iterator[Bench]:
    """A :class:`Bench`; afterwards nothing that it started is left."""
    say_load()
    folder = Path(tempfile.mkdtemp(prefix="byoc-b-", dir="/tmp" if os.path.isdir("/tmp") else None))
    try:
        yield Bench(folder, options)
    finally:
        for process in processes_with(str(folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        gone(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def median(values: Sequence[float]) -> float | None:
    """None when there are none."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """``ours / theirs``; None when either was not measured."""
    return None if ours is None or not theirs else ours / theirs
