"""Run the real command in a process of its own, and compare all that it said with a snapshot.

``UPDATE_SNAPSHOTS=1 pytest tests/cli`` writes the snapshots anew; read the difference before you
commit it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SNAPSHOTS = Path(__file__).parent / "snapshots"
SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 60
"""Seconds for one command; far above what any takes."""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


def environment(home: Path, **more: str) -> dict[str, str]:
    """A plain terminal-less environment whose output does not depend on the caller's."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_GCE_CHECK": "true",
        "BYOC_HOME": str(home),
        "PYTHONPATH": str(SOURCE),
        # Compiled once for all tests, and nothing written beside the sources.
        "PYTHONPYCACHEPREFIX": str(home.parent / "pycache"),
        "COLUMNS": "100",
        "TERMINAL_WIDTH": "100",
        "TERM": "dumb",
        "NO_COLOR": "1",
        **more,
    }


def byoc(
    args: list[str],
    cwd: Path,
    env: dict[str, str],
    stdin: str = "",
    program: Sequence[str] = ("-m", "byoc"),
) -> Said:
    """Run ``byoc`` with ``args`` in ``cwd``. ``program``: what Python is given to be it."""
    done = subprocess.run(
        [sys.executable, *program, *args],
        cwd=cwd,
        env=env,
        input=stdin.encode(),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def with_clouds(
    args: list[str], cwd: Path, env: dict[str, str], clouds: Mapping[str, Any], stdin: str = ""
) -> Said:
    """Run ``byoc`` where the clouds are what ``clouds`` says (:mod:`tests.cli.fakecloud`)."""
    told = Path(env["BYOC_HOME"]).with_name("clouds.json")
    told.write_text(json.dumps(clouds))
    program = Path(__file__).with_name("fakecloud.py")
    return byoc(args, cwd, env | {"FAKE_CLOUDS": str(told)}, stdin, [str(program)])


def compare(name: str, said: Said, hidden: dict[str, str]) -> None:
    """Assert that ``said`` is what the snapshot holds. ``hidden``: text -> what stands for it."""
    parts = [f"exit code: {said.code}", "--- stdout", said.out, "--- stderr", said.err]
    text = "\n".join(parts)
    for real, stand_in in hidden.items():
        text = text.replace(real, stand_in)
    text = re.sub(r"\\n *[~^]+(?=\\n)", "", text)  # the same carets in a traceback within JSON
    # Blanks at line ends are rich's padding; the carets of a traceback differ between Pythons.
    lines = [line.rstrip() for line in text.splitlines()]
    lines = [line for line in lines if not re.fullmatch(r" *[~^]+", line)]
    text = "\n".join(lines).rstrip() + "\n"
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no snapshot {name}: run with UPDATE_SNAPSHOTS=1"
    assert text == path.read_text(encoding="utf-8")
