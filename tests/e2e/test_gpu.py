"""GPUs of this computer, shared out among containers. nvidia-smi is a stand-in, all else real."""

from __future__ import annotations

import os
from pathlib import Path

import e2e_gpus as gpus
import pytest

from byoc import exception

LISTING = "NVIDIA H100 80GB HBM3, 81559\\nNVIDIA H100 80GB HBM3, 81559\\n"


@pytest.fixture
def two_gpus(byoc_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This computer has two H100s, as far as nvidia-smi says."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{LISTING}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("two_gpus")
def test_each_container_has_its_own_gpus() -> None:
    """A container sees the GPUs that it asked for and no others; without any, none."""
    with gpus.app.run():
        assert set(gpus.one.map(range(4))) <= {"0", "1"}
        assert gpus.none.remote() == ""


@pytest.mark.usefixtures("two_gpus")
def test_idle_containers_make_room() -> None:
    """GPUs that idle containers of one function hold go to another function that waits."""
    with gpus.app.run():
        assert gpus.one.remote(0) in ("0", "1")
        assert gpus.both.remote() == "0,1"
        assert gpus.one.remote(0) in ("0", "1")


def test_no_gpu_here(byoc_home: Path) -> None:
    """A GPU that this computer lacks is refused with what to do, and nothing is launched."""
    with gpus.app.run(), pytest.raises(exception.PlacementError, match="no H100") as caught:
        gpus.one.remote(0)
    assert caught.value.hints
