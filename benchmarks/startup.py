"""What starting ``byoc`` costs: CPU of whole processes, in turns with its peers.

    python -m benchmarks.startup [--json] [--reps 15] [--with-modal]

The peers: a bare Python, typer's hello-world, and the help of typer's hello-world rendered by rich
(byoc stands on the same typer). ``--with-modal`` also installs Modal's client into a virtual
environment in a temporary folder. Every command is byte-compiled by a first round that is not
counted; nothing is written beside the sources. Medians of user + system CPU in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = (sys.executable, "-m", "uv")
BUDGET_MS = {"byoc --version": 70, "byoc, a bad option": 70, "byoc run, a bad option": 70}
BUDGET_MS |= {"byoc ps": 70, "import byoc (over bare python)": 40}
"""Of the issue that set them, on a quiet 2-core machine of 2026."""
BUDGET_RATIO = {"byoc --help": ("typer+rich help", 1.25)}
HELLO = """\
import typer

app = typer.Typer(rich_markup_mode={markup!r})


@app.command()
def hello(name: str = "you"):
    \"\"\"Greet somebody.\"\"\"
    print("hello", name)


@app.command()
def bye(name: str = "you"):
    \"\"\"Leave somebody.\"\"\"
    print("bye", name)


app()
"""


def cpu_ms(argv: list[str], env: dict[str, str]) -> float:
    """User + system time of one process, its children included."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1, 2)]
    try:
        child = os.posix_spawn(argv[0], argv, env, file_actions=actions)
        _, status, used = os.wait4(child, 0)
    finally:
        os.close(null)
    if os.waitstatus_to_exitcode(status) not in (0, 2):  # 2 is what a bad option ends with
        sys.exit(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return (used.ru_utime + used.ru_stime) * 1000


def commands(folder: Path, with_modal: bool) -> dict[str, list[str]]:
    """Name -> command line, peers first."""
    python = sys.executable
    plain, rich = folder / "hello_plain.py", folder / "hello_rich.py"
    plain.write_text(HELLO.format(markup=None))
    rich.write_text(HELLO.format(markup="rich"))
    byoc = folder / "byoc_command.py"  # what an installer makes of the entry point
    byoc.write_text("import sys\nfrom byoc.cli.main import main\nsys.exit(main())\n")
    found = {
        "python": [python, "-c", "pass"],
        "typer hello": [python, str(plain), "hello"],
        "typer+rich help": [python, str(rich), "--help"],
        "import byoc": [python, "-c", "import byoc"],
        "byoc --version": [python, str(byoc), "--version"],
        "byoc, a bad option": [python, str(byoc), "--bogus"],
        "byoc run, a bad option": [python, str(byoc), "run", "--bogus"],
        "byoc ps": [python, str(byoc), "ps"],
        "byoc --help": [python, str(byoc), "--help"],
    }
    if with_modal:
        modal = install_modal(folder)
        found["modal --version"] = [str(modal / "modal"), "--version"]
        found["import modal"] = [str(modal / "python"), "-c", "import modal"]
    return found


def install_modal(folder: Path) -> Path:
    """Modal's client in an environment of its own; the folder of its programs."""
    venv = folder / "modal"
    subprocess.run([*UV, "venv", "-q", "-p", sys.executable, venv], check=True)
    programs = venv / "bin"
    install = [*UV, "pip", "install", "-q", "--compile-bytecode", "-p", programs / "python"]
    subprocess.run([*install, "modal"], check=True)
    return programs


def environment(folder: Path) -> dict[str, str]:
    """The caller's, with bytecode and byoc's data in the temporary folder."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "BYOC_HOME": str(folder / "home"),
        "COLUMNS": "100",
    }


def measure(reps: int, with_modal: bool) -> dict[str, list[float]]:
    """Milliseconds of each command, taken in turns."""
    with tempfile.TemporaryDirectory(prefix="byoc-bench-") as name:
        folder = Path(name)
        lines, env = commands(folder, with_modal), environment(folder)
        for line in lines.values():
            cpu_ms(line, env)
        found: dict[str, list[float]] = {command: [] for command in lines}
        for _ in range(reps):
            for command, line in lines.items():
                found[command].append(cpu_ms(line, env))
    over = [own - bare for own, bare in zip(found["import byoc"], found["python"], strict=True)]
    return found | {"import byoc (over bare python)": over}


def table(found: dict[str, list[float]]) -> dict[str, dict[str, float | bool]]:
    """Median, minimum, ratio to typer's hello-world, and the budget where there is one."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    rows: dict[str, dict[str, float | bool]] = {}
    for name, median in medians.items():
        row: dict[str, float | bool] = {
            "median_ms": round(median, 1),
            "min_ms": round(min(found[name]), 1),
            "ratio_to_typer": round(median / medians["typer hello"], 2),
        }
        limit = BUDGET_MS.get(name)
        if name in BUDGET_RATIO:
            peer, factor = BUDGET_RATIO[name]
            limit = round(medians[peer] * factor, 1)
        if limit is not None:
            row |= {"budget_ms": limit, "within": median <= limit}
        rows[name] = row
    return rows


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--reps", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--with-modal", action="store_true")
    options = parser.parse_args()
    rows = table(measure(options.reps, options.with_modal))
    load = os.getloadavg()[0]
    if options.json:
        print(json.dumps({"load": load, "rows": rows}))
        return
    print(f"load average {load:.1f}; CPU of whole processes (a busy machine shows more)")
    print(f"{'':32} {'median ms':>10} {'min ms':>8} {'x typer':>8} {'budget ms':>10}")
    for name, row in rows.items():
        budget = f"{row['budget_ms']:10.1f}" if "budget_ms" in row else ""
        over = "  over" if row.get("within") is False else ""
        print(
            f"{name:32} {row['median_ms']:10.1f} {row['min_ms']:8.1f} "
            f"{row['ratio_to_typer']:8.2f} {budget}{over}"
        )


if __name__ == "__main__":
    main()
