"""What ``import byoc`` loads, and which names it offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import byoc
from tests.helpers import ROOT

HEAVY = ("paramiko", "cryptography", "rich", "typer", "click", "asyncio", "sqlite3", "cloudpickle")
SDKS = ("boto3", "botocore", "google", "oci")
PUBLIC = Path(__file__).with_name("public_names.txt")


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after ``statement``."""
    code = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_byoc_loads_nothing_heavy() -> None:
    """A program that only imports byoc pays for no SSH, terminal, database or cloud library."""
    assert not loaded_by("import byoc") & {*HEAVY, *SDKS}


def test_declaring_an_app_loads_no_transport_and_no_cloud() -> None:
    """Declaring functions needs no SSH, no terminal library, no database and no cloud's SDK."""
    loaded = loaded_by("import byoc; app = byoc.App('x'); image = byoc.Image.debian_slim()")
    assert not loaded & {"paramiko", "cryptography", "rich", "typer", "sqlite3", *SDKS}


def test_the_public_names_are_the_listed_ones() -> None:
    """A public name is added or removed on purpose: the list is changed with it."""
    assert sorted(byoc.__all__) == PUBLIC.read_text().split()


def test_every_public_name_can_be_loaded_and_is_listed_by_dir() -> None:
    """The names that are loaded late are there for ``getattr``, ``dir`` and ``import *``."""
    assert set(byoc.__all__) <= set(dir(byoc))
    for name in byoc.__all__:
        assert getattr(byoc, name) is not None, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Loading names late does not invent names."""
    assert not hasattr(byoc, "no_such_name")


def test_the_version_is_the_newest_of_the_changelog() -> None:
    """The package, its distribution and the changelog name one version."""
    headings = [
        line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")
    ]
    assert headings[0].split()[1] == byoc.__version__
