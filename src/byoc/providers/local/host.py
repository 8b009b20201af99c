"""What the host holds: processors, memory, disk, GPUs. Read, never assumed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ...clock import Clock
from ...resources import Offer
from .machine import files
from .modes import find_program

GPU_MEMORY = 3600.0
"""Seconds for which the answer of nvidia-smi is kept: asking is slow, and GPUs seldom change."""
GPU_TIMEOUT = 20.0
"""Longest wait for nvidia-smi; without persistence mode a large host takes several seconds."""
_QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_MIB = 1024 * 1024
_NOT_LIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63
_NOISE = re.compile(r"\b(NVIDIA|TESLA|GEFORCE|QUADRO|GRAPHICS|DEVICE|GPU)\b")
_FORM = re.compile(r"[\s-]+(PCIE|SXM\d?|HBM\d\w?|NVL|\d+\s?GB|BLACKWELL.*|GENERATION)\b")


class Gpus(NamedTuple):
    """``names``: canonical, one per GPU. ``problem``: why asking failed, else empty."""

    names: tuple[str, ...] = ()
    problem: str = ""


def offer(gpus: Gpus, disk_at: Path) -> Offer:
    """The one thing this host offers. A host with several kinds of GPU offers the first kind."""
    kind = gpus.names[0] if gpus.names else ""
    return Offer(
        cloud="local",
        region="local",
        zone="host",
        type="host",
        market="on-demand",
        price=0.0,
        cpus=cpus(),
        memory=memory(),
        disk=free_disk(disk_at),
        gpu=kind,
        gpu_count=gpus.names.count(kind) if kind else 0,
    )


def cpus() -> float:
    """Processors that this process may use: affinity, and the quota of its control group."""
    if hasattr(os, "sched_getaffinity"):
        usable = float(len(os.sched_getaffinity(0)))
    else:
        usable = float(os.cpu_count() or 1)
    quota = _cpu_quota()
    return min(usable, quota) if quota else usable


def _cpu_quota() -> float:
    text = _control("cpu.max", "cpu", "cpu.cfs_quota_us").split()
    if not text or not text[0].isdigit():  # "max", or -1
        return 0.0
    period = text[1] if len(text) > 1 else _control("", "cpu", "cpu.cfs_period_us").strip()
    return int(text[0]) / int(period) if period.isdigit() and int(period) else 0.0


def memory() -> int:
    """MiB of memory that this process may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _control("memory.max", "memory", "memory.limit_in_bytes").strip()
    if limit.isdigit() and int(limit) < _NOT_LIMITED:
        total = min(total, int(limit))
    return total // _MIB


def free_disk(path: Path) -> int:
    """MiB free for machines, on the disk that holds ``path`` or its nearest existing parent."""
    while not path.exists() and path != path.parent:
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize // _MIB


def _control(unified: str, controller: str, legacy: str) -> str:
    """A control file of this process's group, version 2 or 1; empty when there is none."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    for line in groups:
        _, names, group = line.split(":", 2)
        if not names and unified:
            found = _first_text(Path("/sys/fs/cgroup"), group, unified)
        elif controller in names.split(","):
            found = _first_text(Path("/sys/fs/cgroup") / controller, group, legacy)
        else:
            continue
        if found:
            return found
    return ""


def _first_text(mount: Path, group: str, name: str) -> str:
    """In a container the group's path may be missing below the mount: that is the group then."""
    for path in (mount / group.lstrip("/") / name, mount / name):
        try:
            return path.read_text(encoding="ascii")
        except OSError:
            continue
    return ""


def find_gpus(environ: Mapping[str, str], kept: Path, clock: Clock, fresh: bool = False) -> Gpus:
    """The GPUs of this host by ``nvidia-smi``; nothing is run when that is not on PATH.

    ``kept``: file that keeps the answer for :data:`GPU_MEMORY`; ``fresh`` asks again.
    """
    program = find_program("nvidia-smi", environ)
    if not program:
        return Gpus()
    key = f"{program} {os.stat(program).st_mtime_ns}"
    known = files.read_json(str(kept))
    if known and not fresh and known.get("key") == key:
        age = clock.wall() - float(known.get("asked", 0))
        if 0 <= age < GPU_MEMORY:
            return Gpus(tuple(str(name) for name in known.get("names", ())))
    gpus = _ask(program)
    if not gpus.problem:
        files.make_private(str(kept.parent))
        files.write_json(str(kept), {"key": key, "asked": clock.wall(), "names": gpus.names})
    return gpus


def _ask(program: str) -> Gpus:
    try:
        done = subprocess.run(
            [program, *_QUERY],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GPU_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(problem=str(error))
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        return Gpus(problem=said or f"nvidia-smi ended with status {done.returncode}")
    rows = [line.rpartition(",") for line in said.splitlines() if "," in line]
    return Gpus(tuple(canonical(name, _number(size)) for name, _, size in rows))


def _number(text: str) -> int:
    return int(text.strip()) if text.strip().isdigit() else 0


def canonical(product: str, memory_mib: int) -> str:
    """``NVIDIA H100 80GB HBM3`` -> ``H100``: the name that requests and catalogs use."""
    name = " ".join(_NOISE.sub(" ", product.upper()).split())
    name = _FORM.sub("", " " + name).strip().replace(" ", "-")
    if name == "A100":
        return "A100-80GB" if memory_mib > 60000 else "A100-40GB"
    if name == "V100" and memory_mib > 20000:
        return "V100-32GB"
    return name
