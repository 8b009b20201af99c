"""How large a base install is: megabytes on disk and distributions.

    python -m benchmarks.install_size [--json] [--with-modal]

Installs the project, not editable, into fresh virtual environments: once without bytecode, once
byte-compiled. Only ``site-packages`` is counted, so uv's own binary, which lies beside it with the
programs, is not. In MiB: the bytes of the files, what the disk holds for them (blocks, as ``du``
counts), and the same with bytecode.
``--with-modal`` does the same for Modal's client. Needs a package index, or uv's cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET_MIB, BUDGET_DISTRIBUTIONS = 30, 20
MIB = 1024 * 1024
BLOCK = 512
"""Bytes in one of ``st_blocks``, on every system."""


def installed(what: str, folder: Path, compiled: bool) -> Path:
    """``what`` in a fresh environment; its ``site-packages``."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "-p", sys.executable, folder], check=True)
    # Copies, so that what is counted is what another machine would hold.
    install = [*uv, "pip", "install", "--link-mode", "copy", "-p", folder / "bin" / "python", what]
    subprocess.run([*install, *(["--compile-bytecode"] if compiled else [])], check=True)
    return next(folder.glob("lib/python3.*/site-packages"))


def size(folder: Path, blocks: bool = True) -> float:
    """MiB that the files below ``folder`` occupy on disk, or without ``blocks`` hold."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = [path.stat() for path in files]
    return sum(one.st_blocks * BLOCK if blocks else one.st_size for one in found) / MIB


def parts(packages: Path) -> dict[str, float]:
    """The largest things in it, by name."""
    sizes = {one.name: size(one) for one in packages.iterdir() if one.is_dir()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:8]
    return {name: round(sizes[name], 1) for name in largest}


def measure(what: str) -> dict[str, object]:
    """Both sizes, the distributions and the largest parts."""
    with tempfile.TemporaryDirectory(prefix="byoc-bench-") as name:
        plain = installed(what, Path(name) / "plain", compiled=False)
        compiled = installed(what, Path(name) / "compiled", compiled=True)
        distributions = sorted(
            one.name.partition("-")[0] for one in plain.iterdir() if one.suffix == ".dist-info"
        )
        return {
            "files_mib": round(size(plain, blocks=False), 1),
            "disk_mib": round(size(plain), 1),
            "compiled_mib": round(size(compiled), 1),
            "distributions": len(distributions),
            "names": distributions,
            "largest": parts(plain),
        }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--with-modal", action="store_true")
    options = parser.parse_args()
    found = {"byoc": measure(str(ROOT))}
    if options.with_modal:
        found["modal"] = measure("modal")
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'MiB':8} {'files':>8} {'on disk':>8} {'compiled':>9} {'distributions':>14}")
    for name, row in found.items():
        sizes = f"{row['files_mib']:8} {row['disk_mib']:8} {row['compiled_mib']:9}"
        print(f"{name:8} {sizes} {row['distributions']:14}")
    print(f"{'budget':8} {BUDGET_MIB:8} {'':8} {'':9} {BUDGET_DISTRIBUTIONS:14}")
    for name, row in found.items():
        print(f"{name}: {', '.join(map(str, row['names']))}")  # type: ignore[arg-type, call-overload]
        print(f"  largest, on disk: {row['largest']}")


if __name__ == "__main__":
    main()
