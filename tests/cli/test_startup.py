"""What each command imports: start-up time is a promise, and these sets are how it is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("paramiko", "cryptography", "cloudpickle", "asyncio", "boto3", "google", "oci")
PROBE = """
import sys
from byoc.cli.main import main
try:
    main({args!r})
except SystemExit:
    pass
sys.stderr.write("\\nMODULES " + " ".join(sorted(sys.modules)))
"""


def loaded(args: list[str], cwd: Path, env: dict[str, str]) -> set[str]:
    """The modules in memory after ``byoc`` with ``args``."""
    code = PROBE.format(args=args)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=True
    )
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "args",
    [
        ["--version"],
        ["--bogus"],
        ["ps"],
        ["ps", "--bogus"],
        ["run", "--bogus"],
        ["run", "nothing.py"],
        ["config"],
        ["why"],
        ["down", "--all"],
        ["plan", "--bogus"],
        ["apply", "nothing.json"],
        ["capacity", "--bogus"],
        ["check", "--bogus"],
        ["emulate", "--bogus"],
    ],
)
def test_quick_commands_load_nothing_heavy(
    args: list[str], project: Path, shared_env: dict[str, str]
) -> None:
    """A command that meets no instance loads neither rich nor any of the heavy libraries, and
    neither price lists nor the emulator."""
    modules = loaded(args, project, shared_env)
    assert not modules & {*HEAVY, "rich"}
    rooms = ("byoc.pricing.", "byoc.emulator", "byoc.providers.aws", "byoc.providers.gcp",
             "byoc.providers.oci")  # fmt: skip
    assert not [name for name in modules if name.startswith(rooms)]


def test_a_listing_loads_no_part_of_a_launch(tmp_path: Path, shared_env: dict[str, str]) -> None:
    """``byoc ps`` waits neither for OpenSSL and ctypes nor for what puts machines up."""
    modules = loaded(["ps"], tmp_path, shared_env)
    assert not modules & {"_hashlib", "ctypes", "secrets", "byoc.providers.local.instance"}


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["--bogus"]])
def test_no_command_is_loaded_without_need(
    args: list[str], project: Path, shared_env: dict[str, str]
) -> None:
    """The top help lists all commands without importing one of them."""
    modules = loaded(args, project, shared_env)
    assert not [name for name in modules if name.startswith("byoc.cli.commands.")]
    assert not modules & {"sqlite3", "byoc.fleet", "byoc.providers"}


def test_only_help_needs_rich(project: Path, shared_env: dict[str, str]) -> None:
    """Help is the one output without an instance that rich renders."""
    modules = loaded(["--help"], project, shared_env)
    assert "rich" in modules and not modules & set(HEAVY)


def test_every_command_of_the_table_exists(project: Path, shared_env: dict[str, str]) -> None:
    """Each row of the table leads to a function with a first line of help."""
    from byoc import _lazy
    from byoc.cli.table import COMMANDS

    for path, summary in COMMANDS.values():
        assert _lazy.load(path).__doc__
        assert summary and not summary.endswith(".")
