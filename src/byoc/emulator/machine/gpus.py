"""A pretend ``nvidia-smi`` for machines whose type has GPUs."""

from __future__ import annotations

import json

_NAMES = {
    "A10": "NVIDIA A10G",
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
_PROGRAM = r'''#!/usr/bin/env python3
"""Shows the pretended GPUs of an emulated machine."""
import sys

GPUS = @GPUS@
DRIVER, CUDA, LIMIT = "570.133.20", "12.8", "350.00"


def row(i, units):
    mib, percent, watt = (" MiB", " %", " W") if units else ("", "", "")
    total = GPUS["memory"]
    uuid = "GPU-00000000-0000-4000-8000-%012d" % (i + 1)
    return {
        "index": str(i), "count": str(GPUS["count"]), "name": GPUS["name"],
        "gpu_name": GPUS["name"], "uuid": uuid, "gpu_uuid": uuid, "driver_version": DRIVER,
        "memory.total": "%d%s" % (total, mib), "memory.used": "1" + mib,
        "memory.free": "%d%s" % (total - 1, mib), "utilization.gpu": "0" + percent,
        "utilization.memory": "0" + percent, "temperature.gpu": "31",
        "power.draw": "30.00" + watt, "power.limit": LIMIT + watt, "pstate": "P8",
        "pci.bus_id": "00000000:00:%02X.0" % (0x1E + i), "mig.mode.current": "[N/A]",
        "compute_cap": GPUS["capability"], "persistence_mode": "Enabled",
    }


def main(args):
    options = dict(a.split("=", 1) if "=" in a else (a, "") for a in args)
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
    if "--query-gpu" in options:
        how = options.get("--format", "csv").split(",")
        names = [name.strip() for name in options["--query-gpu"].split(",")]
        for name in names:
            if name not in row(0, True):
                print('Field "%s" is not a valid field to query.\n' % name)
                return 2
        if "noheader" not in how:
            print(", ".join(names))
        for i in chosen:
            values = row(i, "nounits" not in how)
            print(", ".join(values[name] for name in names))
        return 0
    print("| NVIDIA-SMI %s    Driver Version: %s    CUDA Version: %s |" % (DRIVER, DRIVER, CUDA))
    for i in chosen:
        print("| %3d  %-40s 1MiB / %dMiB |" % (i, GPUS["name"], GPUS["memory"]))
    return 0


sys.exit(main(sys.argv[1:]))
'''


def nvidia_smi(gpu: str, count: int, memory: int, capability: str) -> str:
    """The program's text. ``gpu``: canonical name; ``memory``: MiB of one."""
    shown = {
        "name": _NAMES.get(gpu, f"NVIDIA {gpu}"),
        "count": count,
        "memory": memory or _USUAL_MEMORY,
        "capability": capability or "8.0",
    }
    return _PROGRAM.replace("@GPUS@", json.dumps(shown))
