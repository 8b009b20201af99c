"""Shell completion: typer's own, over the table of commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def completed(line: str, project: Path, env: dict[str, str]) -> list[str]:
    """What bash offers after ``line``."""
    words = line.split(" ")
    asked = env | {
        "_BYOC_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-m", "byoc"]
    done = subprocess.run(
        command, cwd=project, env=asked, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_names_of_commands(project: Path, shared_env: dict[str, str]) -> None:
    """The beginning of a command is completed."""
    assert completed("byoc w", project, shared_env) == ["why"]


def test_options_of_a_command(project: Path, shared_env: dict[str, str]) -> None:
    """A command's own options are completed, which loads its module."""
    assert completed("byoc run --dr", project, shared_env) == ["--dry-run"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("byoc run --cloud g", ["gcp"]),
        ("byoc run --cloud aws,o", ["aws,oci"]),
        ("byoc run --gpu H10", ["H100"]),
        ("byoc run --gpu L4,H200", ["L4,H200"]),
        ("byoc plan --gpu H100:8", ["H100:8"]),
        ("byoc exec --cloud aws --region us-w", ["us-west-1", "us-west-2"]),
        ("byoc capacity H20", ["H200"]),
        ("byoc capacity H100 --region eu-frankf", ["eu-frankfurt-1"]),
        ("byoc check o", ["oci"]),
        ("byoc check --cloud a", ["aws"]),
    ],
)
def test_names_of_clouds_regions_and_gpus(
    line: str, offered: list[str], project: Path, shared_env: dict[str, str]
) -> None:
    """Names come from the catalogue; a region from the clouds that the line names."""
    assert completed(line, project, shared_env) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown(shell: str, project: Path, shared_env: dict[str, str]) -> None:
    """The shell's script can be printed, and names the command."""
    asked = shared_env | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "byoc", "--show-completion", shell]
    done = subprocess.run(
        command, cwd=project, env=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "_BYOC_COMPLETE" in done.stdout
