"""A folder with programs to run, and an environment to run ``byoc`` in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import harness

PROGRAMS = {
    "hello.py": '''\
"""A program with one entrypoint."""
from datetime import datetime
from typing import Literal, Optional

import byoc

app = byoc.App("hello")


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def numbers(n: int):
    yield from range(n)


@app.local_entrypoint()
def main(n: int, name: str = "x", fast: bool = True, when: Optional[datetime] = None,
         mode: Literal["a", "b"] = "a", some_thing=5):
    """Square n [numbers].

    At length.
    """
    print(square.remote(n))


def helper():
    return 1
''',
    "two.py": """\
import byoc

app = byoc.App()


@app.local_entrypoint()
def first():
    pass


@app.local_entrypoint()
def second():
    pass
""",
    "odd.py": """\
import byoc

app = byoc.App()


@app.function()
def listed(items: list[int]):
    pass


@app.function()
def keywords(**options):
    pass
""",
    "empty.py": "import byoc\n\napp = byoc.App()\n",
    "noapp.py": "import byoc\n\nprint('imported')\n",
    "broken.py": "import byoc\n\nvalue = (\n",
    "raises.py": "import byoc\n\n\ndef look():\n    return {}['key']\n\n\nlook()\n",
    "missing.py": "import byoc\nimport a_module_that_is_not_there\n",
    "wrong.py": 'import byoc\n\napp = byoc.App("two words")\n',
    "quits.py": "import byoc\nimport sys\n\nsys.exit(5)\n",
    "plain.py": "print('plain')\n",
    "json.py": "import byoc\n\napp = byoc.App()\n",
    "pack/__init__.py": "",
    "pack/part.py": "import byoc\n\nfrom . import other\n",
    "pack/other.py": "",
    "data.txt": "not python at all\n",
}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds :data:`PROGRAMS`."""
    folder = tmp_path_factory.mktemp("cli") / "project"
    for name, text in PROGRAMS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(scope="session")
def shared_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose data folder the tests that only look share."""
    folder = tmp_path_factory.mktemp("cli-home")
    return harness.environment(folder / "home")


@pytest.fixture
def own_env(tmp_path: Path) -> dict[str, str]:
    """An environment with a data folder of its own, for tests that run something."""
    return harness.environment(tmp_path / "home")
