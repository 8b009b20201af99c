"""The program that examines a machine's GPUs, on pretended machines and libraries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from byoc.emulator.machine import gpus as pretended
from byoc.emulator.scenario import GPU_FAULTS
from byoc.fleet import acceptance
from byoc.fleet.acceptance import judge
from byoc.resources import Offer
from byoc.runtime_agent import acceptance as program

SOURCES = Path(__file__).parent / "cuda"


def sold(gpu: str, count: int, memory: int) -> Offer:
    place = ("sim", "region", "a", "type", "on-demand")
    return Offer(*place, 1.0, 4, 8192, gpu=gpu, gpu_count=count, gpu_memory=memory)


EIGHT = sold("H100", 8, 81920)
ONE = sold("L4", 1, 24576)


def kinds(told: Mapping[str, Any], offer: Offer = EIGHT) -> list[str]:
    return [one.kind for one in judge(told, offer).findings]


# --- the program ---------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Examines a machine whose programs are those of an emulated one."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(program, "_PLACES", "")
    for name, seconds in {"TOOL": 10.0, "LOADING": 1.2, "ALL_THERE": 0.3, "AGAIN": 0.1}.items():
        monkeypatch.setattr(program, name, seconds)

    def examine(made: pretended.Gpus, **programs: str) -> dict[str, Any]:
        for name, text in {**dict(pretended.programs(made)), **programs}.items():
            path = tmp_path / name.replace("_", "-")
            path.write_text(text.replace("/run/nvidia", f"{tmp_path}/nvidia"))
            path.chmod(0o755)
        return program.examine(made.number)

    return examine


FOUND = {
    "fewer": "count",
    "memory": "memory",
    "name": "name",
    "ecc": "ecc",
    "rows": "rows",
    "rows-failed": "rows",
    "xid": "xid",
    "lost": "lost",
    "no-driver": "no-tool",
    "driver": "no-driver",
    "mismatch": "mismatch",
    "hang": "hang",
}
"""What a scenario can break, and the kind of finding that it makes."""


def test_every_fault_of_scenarios_is_here() -> None:
    """What the emulator can break is what these tests break."""
    assert {*FOUND, "loading"} == {*GPU_FAULTS}


@pytest.mark.parametrize("fault", FOUND)
def test_broken_machines_are_found_out(
    fault: str, machine: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's report of each kind of broken machine makes the finding of that kind."""
    if fault == "no-driver" and shutil.which("nvidia-smi"):
        pytest.skip("this computer has a driver of its own")
    if fault == "hang":
        monkeypatch.setattr(program, "TOOL", 0.5)
    trouble = pretended.Trouble(fault)
    told = machine(pretended.Gpus("H100", 8, 81920, "9.0", trouble))
    found = kinds(json.loads(json.dumps(told)))
    assert FOUND[fault] in found or (fault == "no-driver" and "no-device" in found)
    assert told["seconds"] < 10


def test_a_sound_machine_is_accepted(machine: Callable[..., dict[str, Any]]) -> None:
    """The pretended programs of a sound machine give a report without findings."""
    told = machine(pretended.Gpus("H100", 8, 81559, "9.0"))
    assert not kinds(told)
    assert told["driver"] == "570.133.20"
    assert told["gpus"][7] == {
        "index": "7",
        "name": "NVIDIA H100 80GB HBM3",
        "bus": "00000000:00:25.0",
        "memory": 81559,
        "uncorrected": 0,
        "retired": None,
        "pending": False,
        "failed": False,
    }


def test_a_driver_that_is_loading_is_waited_for(machine: Callable[..., dict[str, Any]]) -> None:
    """A driver that comes within the bound is no finding."""
    told = machine(pretended.Gpus("L4", 1, 23034, "8.9", pretended.Trouble("loading", delay=0.7)))
    assert not kinds(told, ONE)
    assert told["seconds"] >= 0.5


OLD = """#!/bin/sh
case "$1" in
  *memory.total*) echo "0, Tesla V100-SXM2-16GB, 00000000:00:1E.0, 418.226.00, 16130" ;;
  *ecc.errors*) echo "0, [N/A], [Not Supported]" ;;
  *) echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."; exit 1 ;;
esac
"""


def test_what_an_old_driver_does_not_tell_is_no_finding(
    machine: Callable[..., dict[str, Any]],
) -> None:
    """Counters that a driver or a GPU lacks are not told, and nothing is concluded from that."""
    volta = sold("V100", 1, 16384)
    told = machine(pretended.Gpus("V100", 1, 16130, "7.0"), nvidia_smi=OLD)
    assert not kinds(told, volta)
    assert told["gpus"][0]["uncorrected"] is None


def test_a_log_that_cannot_be_read_is_said(machine: Callable[..., dict[str, Any]]) -> None:
    """Where nobody may read the kernel's log the machine is accepted, and the line says it."""
    closed = "#!/bin/sh\nexit 1\n"
    told = machine(
        pretended.Gpus("L4", 1, 23034, "8.9"), dmesg=closed, sudo=closed, journalctl=closed
    )
    assert told["kernel"] is None
    assert "log could not be read" in judge(told, ONE).summary


def test_the_program_runs_alone(tmp_path: Path) -> None:
    """Its text on the standard input of a bare Python prints one JSON object."""
    (tmp_path / "nvidia-smi").write_text(pretended.nvidia_smi(pretended.Gpus("L4", 1, 0, "")))
    (tmp_path / "nvidia-smi").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", "-", '{"count": 1}'],
        input=acceptance.program(),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["gpus"][0]["name"] == "NVIDIA L4"


# --- CUDA ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CUDA driver library and cuBLAS that work in plain memory."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("cuda")
    for name, source in {"libcuda.so.1": "cuda.c", "libcublas.so.12": "blas.c"}.items():
        words = [compiler, "-O2", "-shared", "-fPIC", str(SOURCES / source), "-o"]
        subprocess.run([*words, str(folder / name)], check=True, timeout=60)
    return folder


def cuda(libraries: Path, fault: str, count: int = 1) -> dict[str, Any]:
    """What the program's CUDA part says, in a process that finds these libraries."""
    code = (
        "import json, sys, time\n"
        "from byoc.runtime_agent import acceptance as a\n"
        "a.LOADING, a.CUDA, a._LIBRARIES = 0.3, 3.0, ()\n"
        "print(json.dumps(a._cuda(int(sys.argv[1]), time.monotonic())), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(count)],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "FAKE_CUDA": fault},
        capture_output=True,
        timeout=30,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_gpu_multiplies(libraries: Path) -> None:
    """With both libraries each GPU copies and multiplies, and the product is checked."""
    assert cuda(libraries, "", 3) == {"ok": 3, "copied": 3, "bad": [], "skipped": ""}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("init", "cuInit failed: CUDA_ERROR_TEST (999)"),
        ("wrong", "gave a wrong result"),
        ("forgets", "came back changed"),
        ("fault", "cuCtxSynchronize failed"),
        ("executes", "could not be executed"),
        ("hang", "did not end within"),
    ],
)
def test_cuda_that_fails_is_found(libraries: Path, fault: str, words: str) -> None:
    """What sound hardware does not do is told of the GPU that did it."""
    (text,) = cuda(libraries, fault)["bad"]
    assert text.startswith("GPU 0: ")
    assert words in text


def test_a_library_that_is_too_new_is_no_fault(libraries: Path) -> None:
    """A cuBLAS that does not start says nothing of the hardware: it is skipped, and said."""
    found = cuda(libraries, "new")
    assert not found["bad"]
    assert found["copied"] == 1
    assert "does not start (status 1)" in found["skipped"]


def test_without_libraries_it_is_skipped(tmp_path: Path) -> None:
    """A machine without CUDA's libraries is examined all the same."""
    found = cuda(tmp_path, "")
    assert not found["bad"]
    assert found["skipped"]
