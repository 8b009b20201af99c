"""A pretended ``nvidia-smi``, and a kernel's log, for machines whose type has GPUs."""

from __future__ import annotations

import json
from typing import NamedTuple

_NAMES = {
    "A10": "NVIDIA A10",
    "A10G": "NVIDIA A10G",
    "A100-40GB": "NVIDIA A100-SXM4-40GB",
    "A100-80GB": "NVIDIA A100-SXM4-80GB",
    "H100": "NVIDIA H100 80GB HBM3",
    "H200": "NVIDIA H200",
    "B200": "NVIDIA B200",
    "P100": "Tesla P100-PCIE-16GB",
    "P4": "Tesla P4",
    "T4": "Tesla T4",
    "V100": "Tesla V100-SXM2-16GB",
    "V100-32GB": "Tesla V100-SXM2-32GB",
}
"""As the driver names them; others are ``NVIDIA`` and their canonical name."""
_USUAL_MEMORY = 16384
_ANOTHERS = ("Tesla P4", "Tesla T4")
"""What a GPU is where the scenario wants a wrong one: the first that it should not be."""
_XID = "NVRM: Xid (PCI:0000:00:1E): 79, pid='<unknown>', GPU has fallen off the bus."


class Trouble(NamedTuple):
    """What is wrong with the GPUs: ``kind`` as in a scenario, empty when nothing is. ``message``: a
    line of the kernel's log; ``delay``: seconds after the first question until the driver is there.
    """

    kind: str = ""
    message: str = ""
    delay: float = 0.0


SOUND = Trouble()


class Gpus(NamedTuple):
    """``name``: the canonical one; ``memory``: MiB of one; ``trouble``: what is wrong."""

    name: str
    number: int
    memory: int
    capability: str
    trouble: Trouble = SOUND


_PROGRAM = r'''#!/usr/bin/env python3
"""Shows the pretended GPUs of an emulated machine."""
import os
import sys
import time

GPUS = @GPUS@
DRIVER, CUDA, LIMIT = "570.133.20", "12.8", "350.00"
FAULT = GPUS["fault"]
DOWN = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)


def bus(i):
    return "00000000:00:%02X.0" % (0x1E + i)


def row(i, units):
    mib, percent, watt = (" MiB", " %", " W") if units else ("", "", "")
    total = GPUS["memory"]
    uuid = "GPU-00000000-0000-4000-8000-%012d" % (i + 1)
    broken = i == GPUS["count"] - 1
    return {
        "index": str(i), "count": str(GPUS["count"]), "name": GPUS["name"],
        "gpu_name": GPUS["name"], "uuid": uuid, "gpu_uuid": uuid, "driver_version": DRIVER,
        "memory.total": "%d%s" % (total, mib), "memory.used": "1" + mib,
        "memory.free": "%d%s" % (total - 1, mib), "utilization.gpu": "0" + percent,
        "utilization.memory": "0" + percent, "temperature.gpu": "31",
        "power.draw": "30.00" + watt, "power.limit": LIMIT + watt, "pstate": "P8",
        "pci.bus_id": bus(i), "gpu_bus_id": bus(i), "mig.mode.current": "[N/A]",
        "compute_cap": GPUS["capability"], "persistence_mode": "Enabled",
        "ecc.mode.current": "Enabled", "ecc.errors.corrected.volatile.total": "0",
        "ecc.errors.uncorrected.volatile.total": "2" if broken and FAULT == "ecc" else "0",
        "ecc.errors.uncorrected.aggregate.total": "2" if broken and FAULT == "ecc" else "0",
        "retired_pages.pending": "[N/A]",
        "remapped_rows.correctable": "0", "remapped_rows.uncorrectable": "0",
        "remapped_rows.pending": "1" if broken and FAULT == "rows" else "0",
        "remapped_rows.failure": "1" if broken and FAULT == "rows-failed" else "0",
    }


def down():
    """What a driver that does not work answers: its text and the exit status, or None."""
    if FAULT == "hang":
        time.sleep(86400)
    if FAULT == "driver":
        return DOWN, 9
    if FAULT == "mismatch":
        return "Failed to initialize NVML: Driver/library version mismatch", 18
    if FAULT == "loading":
        mark = "/run/nvidia-first-asked"
        if not os.path.exists(mark):
            open(mark, "w").close()
        if time.time() - os.stat(mark).st_mtime < GPUS["delay"]:
            return DOWN, 9
    if not GPUS["count"]:
        return "No devices were found", 6
    return None


def main(args):
    options = dict(a.split("=", 1) if "=" in a else (a, "") for a in args)
    answer = down()
    if answer:
        print(answer[0])
        return answer[1]
    chosen = range(GPUS["count"])
    wanted = options.get("--id") or options.get("-i")
    if "-i" in args and args[-1] != "-i":
        wanted = args[args.index("-i") + 1]
    if wanted:
        chosen = [i for i in chosen if str(i) in wanted.split(",")]
    if "-L" in args or "--list-gpus" in args:
        for i in chosen:
            print("GPU %d: %s (UUID: %s)" % (i, GPUS["name"], row(i, True)["uuid"]))
        return 0
    query = options.get("--query-gpu") or options.get("--query-remapped-rows")
    if query:
        how = options.get("--format", "csv").split(",")
        names = [name.strip() for name in query.split(",")]
        for name in names:
            if name not in row(0, True):
                print('Field "%s" is not a valid field to query.\n' % name)
                return 2
        if "noheader" not in how:
            print(", ".join(names))
        lost = GPUS["count"] - 1 if FAULT == "lost" else -1
        for i in chosen:
            values = row(i, "nounits" not in how)
            if i != lost:
                print(", ".join(values[name] for name in names))
        if lost >= 0:
            print("Unable to determine the device handle for GPU%s: GPU is lost.  Reboot the "
                  "system to recover this GPU" % bus(lost)[4:])
            return 15
        return 0
    print("| NVIDIA-SMI %s    Driver Version: %s    CUDA Version: %s |" % (DRIVER, DRIVER, CUDA))
    for i in chosen:
        print("| %3d  %-40s 1MiB / %dMiB |" % (i, GPUS["name"], GPUS["memory"]))
    return 0


sys.exit(main(sys.argv[1:]))
'''


def programs(made: Gpus) -> list[tuple[str, str]]:
    """Name and text of what such a machine has: ``nvidia-smi``, unless its driver is missing, and
    ``dmesg``, so that it does not show the log of this computer's kernel."""
    found = [("dmesg", _dmesg(made))]
    if made.trouble.kind != "no-driver":
        found.append(("nvidia-smi", nvidia_smi(made)))
    return found


def nvidia_smi(made: Gpus) -> str:
    """The program's text."""
    kind = made.trouble.kind
    memory = made.memory or _USUAL_MEMORY
    name = _NAMES.get(made.name, f"NVIDIA {made.name}")
    if kind == "name":
        name = next(one for one in _ANOTHERS if one != name)
    shown = {
        "name": name,
        "count": made.number - (kind == "fewer"),
        "memory": memory // 2 if kind == "memory" else memory,
        "capability": made.capability or "8.0",
        "fault": kind,
        "delay": made.trouble.delay,
    }
    return _PROGRAM.replace("@GPUS@", json.dumps(shown))


def _dmesg(made: Gpus) -> str:
    lines = ["Linux version 6.8.0-emulated", "nvidia: loading out-of-tree module taints kernel."]
    lines.append("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  570.133.20")
    if made.trouble.kind == "xid":
        lines.append(made.trouble.message or _XID)
    text = "\n".join(f"[{at:12.6f}] {line}" for at, line in enumerate(lines))
    return f"#!/bin/sh\ncat <<'EOF'\n{text}\nEOF\n"
