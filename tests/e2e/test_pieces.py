"""One program whose parts refer to each other, from a file, standard input and ``python -c``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import PROGRAMS

PROGRAM = PROGRAMS / "e2e_pieces.py"
EXPECTED = """\
10 5
(20, 6) ((40, 5), (40, 5), (2, 2))
((14, 3), (14, 3), 3)
[0, 1, 2, 3]
2 (3, 2) (4, 2)
True True True 4
"""
ASYNC_RUN = """
import asyncio

async def go():
    async with app.run():
        await main()

asyncio.run(go())
"""


@pytest.mark.parametrize("way", ["file", "stdin", "command", "script"])
def test_parts_refer_to_each_other(warm_home: Path, tmp_path: Path, way: str) -> None:
    """Behaviours 28, 30: functions, classes, objects and types travel as arguments, results and
    globals, whether their code is in a file or has none."""
    text = PROGRAM.read_text()
    script = tmp_path / "pieces.py"
    script.write_text(text + '\nif __name__ == "__main__":' + ASYNC_RUN.replace("\n", "\n    "))
    argv = {
        "file": ["-m", "byoc", "run", "--quiet", str(PROGRAM)],
        "stdin": ["-m", "byoc", "run", "--quiet", "-"],
        "command": ["-c", text + ASYNC_RUN],
        "script": [str(script)],
    }[way]
    given = text if way == "stdin" else None
    done = subprocess.run(
        [sys.executable, *argv], input=given, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, EXPECTED), done.stderr
