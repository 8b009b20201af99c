"""What the local provider finds on its host: parts, processors, GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc import providers
from byoc.clock import SYSTEM
from byoc.errors import NotFoundError, SettingsError
from byoc.providers.base import HostKey, LaunchRequest
from byoc.providers.local import host, modes
from byoc.resources import Offer, parse_gpu
from tests.helpers import ROOT
from tests.providers.world import ShiftedClock, World


def program(folder: Path, name: str, text: str) -> Path:
    """An executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("product", "memory", "name"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
        ("NVIDIA H100 PCIe", 81559, "H100"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA B200", 183359, "B200"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100-40GB"),
        ("NVIDIA A100-PCIE-40GB", 40960, "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100-80GB"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA L4", 23034, "L4"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("NVIDIA A10", 23028, "A10"),
        ("NVIDIA A10G", 23028, "A10G"),
        ("Tesla V100-SXM2-16GB", 16160, "V100"),
        ("Tesla V100-SXM2-32GB", 32510, "V100-32GB"),
        ("Tesla P100-PCIE-16GB", 16280, "P100"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX-4090"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 16384, "RTX-3080-LAPTOP"),
        ("NVIDIA RTX A6000", 49140, "RTX-A6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "RTX-PRO-6000"),
        ("NVIDIA GB200", 189471, "GB200"),
        ("NVIDIA GH200 480GB", 97871, "GH200"),
    ],
)
def test_products_get_the_names_that_requests_use(product: str, memory: int, name: str) -> None:
    """The driver's product names become the names of the catalog, which a request can ask for."""
    assert host.canonical(product, memory) == name
    assert parse_gpu(name).name == name


def test_gpus_are_asked_once_and_remembered(tmp_path: Path) -> None:
    """nvidia-smi runs once an hour, or when everything is to be looked at anew."""
    count = tmp_path / "count"
    text = f"echo x >> {count}\nprintf 'NVIDIA L4, 23034\\nNVIDIA L4, 23034\\n'\n"
    environ = {"PATH": str(program(tmp_path / "bin", "nvidia-smi", text).parent)}
    kept, clock = tmp_path / "gpus.json", ShiftedClock()
    for _ in range(3):
        assert host.find_gpus(environ, kept, clock).names == ("L4", "L4")
    assert count.read_text() == "x\n"
    host.find_gpus(environ, kept, clock, fresh=True)
    clock.shift = host.GPU_MEMORY + 1
    host.find_gpus(environ, kept, clock)
    assert count.read_text() == "x\n" * 3
    kept.write_text("{")
    assert host.find_gpus(environ, kept, clock).names == ("L4", "L4")


def test_the_offer_holds_the_gpus(byoc_home: Path, tmp_path: Path) -> None:
    """A host with GPUs offers them by canonical name and number."""
    text = "printf 'NVIDIA H100 80GB HBM3, 81559\\nNVIDIA H100 80GB HBM3, 81559\\n'\n"
    folder = program(tmp_path, "nvidia-smi", text).parent
    world = World(byoc_home, {"PATH": f"{folder}:{os.environ['PATH']}"})
    (offer,) = world.provider.offers()
    assert (offer.gpu, offer.gpu_count, offer.price) == ("H100", 2, 0.0)
    assert any("H100" in finding.message for finding in world.provider.check())


def test_a_broken_driver_is_no_gpu_and_a_finding(byoc_home: Path, tmp_path: Path) -> None:
    """When nvidia-smi fails, nothing is offered, nothing is remembered, and check says it."""
    text = "echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9\n"
    folder = program(tmp_path, "nvidia-smi", text).parent
    world = World(byoc_home, {"PATH": f"{folder}:{os.environ['PATH']}"})
    assert world.provider.offers()[0].gpu_count == 0
    assert not (byoc_home / "local" / "gpus.json").exists()
    (finding,) = (f for f in world.provider.check() if "nvidia-smi" in f.message)
    assert finding.level == "warn" and "could not talk" in finding.message and finding.remedy


def test_the_offer_is_what_this_process_may_use(best: World) -> None:
    """Processors by affinity and quota, memory, and free disk: positive and not invented."""
    (offer,) = best.provider.offers()
    assert 0 < offer.cpus <= (os.cpu_count() or 1)
    assert 0 < offer.memory <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    assert offer.disk > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_limits_the_offer() -> None:
    """A byoc that is pinned to one processor offers one."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from byoc.providers.local import host; print(host.cpus())"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert 0 < float(done.stdout) <= 1.0


@pytest.mark.parametrize("setting", [modes.ISOLATION_SETTING, modes.SERVER_SETTING])
def test_an_unknown_choice_is_refused_by_name(byoc_home: Path, setting: str) -> None:
    """A misspelt setting is an error that names it and what it may be."""
    with pytest.raises(SettingsError, match=f"{setting}='docker'"):
        World(byoc_home, {setting: "docker"}).provider.mode()


def test_a_forced_part_that_is_missing_is_an_error(byoc_home: Path, tmp_path: Path) -> None:
    """Forcing bwrap where it is not installed, or does not work, fails and says which."""
    memory = byoc_home / "probe.json"
    forced = {modes.ISOLATION_SETTING: "bwrap", "PATH": str(tmp_path)}
    with pytest.raises(SettingsError, match="not installed"):
        modes.choose(forced, memory)
    program(tmp_path, "bwrap", "echo 'setting up uid map: Permission denied' >&2; exit 1\n")
    with pytest.raises(SettingsError, match="uid map: Permission denied") as caught:
        modes.choose(forced, memory)
    assert "Unset" in caught.value.hints[0]


def test_a_bwrap_that_does_not_work_is_not_used(byoc_home: Path, tmp_path: Path) -> None:
    """Where the system refuses namespaces, machines are not isolated, and check warns."""
    program(tmp_path, "bwrap", "echo 'No permissions to create a new namespace' >&2; exit 1\n")
    world = World(byoc_home, {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert world.provider.mode().isolation == "none"
    assert not world.provider.traits.real_root
    warning = next(f for f in world.provider.check() if "not isolated" in f.message)
    assert warning.level == "warn" and "new namespace" in warning.message and warning.remedy


def test_a_trial_that_succeeds_is_remembered(byoc_home: Path, tmp_path: Path) -> None:
    """A working bwrap is tried once; check tries again, and so does any look after a refusal."""
    count = tmp_path / "count"
    environ = {"PATH": str(program(tmp_path / "bin", "bwrap", f"echo x >> {count}\n").parent)}
    memory = byoc_home / "probe.json"
    for _ in range(3):
        assert modes.choose(environ, memory).isolation == "bwrap"
    assert count.read_text() == "x\n"
    modes.choose(environ, memory, fresh=True)
    program(tmp_path / "bin", "bwrap", f"echo y >> {count}; exit 1\n")
    for _ in range(2):
        assert modes.choose(environ, memory).isolation == "none"
    assert count.read_text() == "x\nx\ny\ny\n"


def test_check_names_what_was_found(world: World) -> None:
    """The findings tell isolation, server and network in words, and warn where it matters."""
    found = world.provider.check()
    text = "\n".join(f.message for f in found)
    mode = world.provider.mode()
    assert ("sandbox of" in text) == (mode.isolation == "bwrap")
    assert ("built-in SSH server" in text) == (mode.server == "library")
    assert "network" in text and "uv" in text
    assert all(f.remedy for f in found if f.level != "ok")


def test_providers_are_found_by_name(byoc_home: Path) -> None:
    """The registry makes a provider from its name, and names the others when there is none."""
    assert "local" in providers.names()
    assert providers.get("local", home=byoc_home, environ=os.environ, clock=SYSTEM).name == "local"
    with pytest.raises(NotFoundError, match="'nowhere'") as caught:
        providers.get("nowhere", home=byoc_home, environ={})
    assert "local" in caught.value.hints[0]


def test_a_private_key_is_never_shown() -> None:
    """Neither a host key nor the request that carries it shows the private half as text."""
    offer = Offer("local", "local", "host", "host", "on-demand", 0.0, 1.0, 128)
    request = LaunchRequest("token", offer, {}, HostKey("PRIVATE", "public"), "client", 60.0)
    assert "public" in f"{request.host_key}" and "host" in str(request)
    assert "PRIVATE" not in f"{request.host_key} {request.host_key!r} {request}"


def test_knowing_the_names_loads_no_provider() -> None:
    """Importing the registry costs nothing: no provider, no SSH library, no uv."""
    code = (
        "import sys; import byoc.providers as p; p.names();"
        "heavy = ('byoc.providers.local', 'paramiko', 'uv', 'subprocess');"
        "print([m for m in heavy if m in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
