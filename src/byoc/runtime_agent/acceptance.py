"""Is this machine's GPU hardware sound? A stand-alone program that prints one JSON object.

It is sent to a new machine's own Python before anything else runs there, as text on standard input,
so it imports nothing of byoc: standard library only, CPython 3.8 or newer. It gathers facts and
leaves the judgement to who asked (:mod:`byoc.fleet.acceptance`). Everything in it is bounded: a
driver that hangs is a fact, not a wait.

    python3 -I - '{"count": 8}' < acceptance.py

What it prints (:func:`examine`)::

    driver   its version, empty when none answers
    gpus     one object each: index, name, bus, memory (MiB), uncorrected (ECC errors since the
             driver was loaded), retired, pending, failed (row remapping); null where not told
    trouble  {"kind": ..., "text": ...} when nvidia-smi cannot be asked, else null; the kind is
             ``no-device``, ``no-tool``, ``no-driver``, ``mismatch``, ``hang``, ``lost`` or
             ``failed``
    kernel   what the kernel has said of the GPUs since boot, null when its log cannot be read
    cuda     null, or what CUDA did: ok (GPUs that multiplied right), copied, bad (texts), skipped
             (why something was not done)
    seconds  how long all of it took
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = tuple[int | None, str]

TOOL = 15.0
"""Seconds for nvidia-smi's answers: with eight GPUs and no persistence daemon each has to be
started first, about a second apiece. Longer than this is a hang."""
LOADING = 12.0
"""Seconds, from the start, in which a driver that is not there yet may still come: SSH answers
before the last modules of a cold disk are loaded, which takes two to ten seconds."""
ALL_THERE = 5.0
"""The same for GPUs that are missing although others are there: the driver finds them one by one,
in well under a second each."""
AGAIN = 0.5
"""Seconds between two looks."""
CUDA = 8.0
"""Seconds for CUDA on all GPUs side by side: a context takes one or two, the libraries' first read
from a cold disk several. What is late is skipped, unless it hangs while the GPU works."""
KERNEL = 5.0
"""Seconds for reading the kernel's log."""
REAP = 0.2
"""Seconds that a program which was killed gets to go, so that its process does not stay."""
LINES = 40
"""Lines of the kernel's log that are kept, the latest."""
TEXT = 400
"""Characters of a program's output that are kept."""
SIDE = 512
"""Rows of the matrices: large enough to use a whole GPU for a moment, small enough to check."""

_BASE = "index,name,pci.bus_id,driver_version,memory.total"
_ECC = "index,ecc.errors.uncorrected.volatile.total,retired_pages.pending"
_ROWS = "gpu_bus_id,remapped_rows.pending,remapped_rows.failure"
_FINAL = ("hang", "lost", "mismatch", "no-device", "no-tool")  # what no waiting helps
_COUNTED = ("uncorrected", "retired", "pending", "failed")
_PLACES = ":/usr/bin:/usr/local/bin:/bin:/usr/sbin:/sbin:/opt/bin:/usr/local/nvidia/bin"
_TELLING = re.compile(
    r"NVRM: Xid|RmInitAdapter failed|fallen off the bus|probe of \S+ failed|SXid", re.IGNORECASE
)
_LOST = re.compile(
    r"GPU is lost|fallen off|unable to determine the device handle|requires reset|unknown error",
    re.IGNORECASE,
)
_MISMATCH = "version mismatch"
_LIBRARIES = (
    "/usr/local/cuda*/lib64/libcublas.so.*[0-9]",
    "/usr/local/cuda*/targets/*/lib/libcublas.so.*[0-9]",
    "/usr/lib/*/libcublas.so.*[0-9]",
    "/usr/lib64/libcublas.so.*[0-9]",
)


def examine(count: int) -> dict[str, Any]:
    """All facts; ``count``: how many GPUs there should be."""
    begun = time.monotonic()
    found = _ask_driver(count, begun)
    found["kernel"], found["cuda"] = _kernel(), None
    if found["gpus"] and found["trouble"] is None:
        found["cuda"] = _cuda(len(found["gpus"]), begun)
    found["seconds"] = round(time.monotonic() - begun, 2)
    return found


# --- the driver ---------------------------------------------------------------------------------


def _ask_driver(count: int, begun: float) -> dict[str, Any]:
    """``driver``, ``gpus`` and ``trouble``; waits a little for what is still loading."""
    while True:
        waited = time.monotonic() - begun
        told = _look()
        kind = told["trouble"]["kind"] if told["trouble"] else ""
        short = not kind and len(told["gpus"]) < count
        if kind in _FINAL or not (kind or short):
            break
        if waited > (ALL_THERE if short else LOADING):
            break
        time.sleep(AGAIN)
    return told


def _look() -> dict[str, Any]:
    """What nvidia-smi says of the GPUs. Its questions are asked side by side: without a persistence
    daemon each would wait for the driver to start anew."""
    told: dict[str, Any] = {"driver": "", "gpus": [], "trouble": None}
    tool = shutil.which("nvidia-smi", path=os.environ.get("PATH", "") + _PLACES)
    if tool is None:
        told["trouble"] = _without_tool()
        return told
    form = "--format=csv,noheader,nounits"
    asked = ("--query-gpu=" + _BASE, "--query-gpu=" + _ECC, "--query-remapped-rows=" + _ROWS)
    base, errors, rows = _call_all([[tool, one, form] for one in asked], TOOL)
    code, text = base
    for index, name, bus, driver, memory in _rows(text, 5):
        told["driver"] = told["driver"] or driver
        known = {"index": index, "name": name, "bus": bus, "memory": _number(memory)}
        told["gpus"].append({**known, **dict.fromkeys(_COUNTED)})
    if None in (code, errors[0], rows[0]):
        told["trouble"] = _trouble("hang", "nvidia-smi did not answer within %g s" % TOOL)
    elif _LOST.search(text):
        told["trouble"] = _trouble("lost", text)
    elif code or not told["gpus"]:
        kind = "failed" if told["gpus"] else "no-driver"
        kind = "mismatch" if _MISMATCH in text.lower() else kind
        told["trouble"] = _trouble(kind, text or "nvidia-smi exited with status %s" % code)
    _add_counters(told["gpus"], errors, rows)
    return told


def _without_tool() -> dict[str, str]:
    vendors = [_read(path).strip() for path in glob.glob("/sys/bus/pci/devices/*/vendor")]
    if vendors and "0x10de" not in vendors:
        return _trouble("no-device", "there is no nvidia-smi, and no NVIDIA device on the PCI bus")
    return _trouble("no-tool", "there is no nvidia-smi")


def _add_counters(gpus: list[dict[str, Any]], errors: Answer, rows: Answer) -> None:
    """Memory errors, where this driver and these GPUs count them; older ones refuse the query."""
    by_index = {gpu["index"]: gpu for gpu in gpus}
    by_bus = {gpu["bus"].lower(): gpu for gpu in gpus}
    for index, uncorrected, retired in _rows(errors[1], 3) if errors[0] == 0 else ():
        gpu = by_index.get(index, {})
        gpu.update(uncorrected=_number(uncorrected), retired=_flag(retired))
    for bus, pending, failed in _rows(rows[1], 3) if rows[0] == 0 else ():
        gpu = by_bus.get(bus.lower(), {})
        gpu.update(pending=_flag(pending), failed=_flag(failed))


def _call_all(calls: list[list[str]], seconds: float) -> list[Answer]:
    """Each program's exit status, None for one that does not end in time, and its output. Such a
    one is killed, and hardly waited for: what hangs in a driver cannot be killed."""
    deadline = time.monotonic() + seconds
    started: list[Any] = []
    for words in calls:
        try:
            started.append(
                subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            )
        except OSError as error:
            started.append((127, str(error)))
    return [one if isinstance(one, tuple) else _answer(one, deadline) for one in started]


def _answer(process: subprocess.Popen[bytes], deadline: float) -> Answer:
    try:
        data, _ = process.communicate(timeout=max(0.05, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(REAP)
        return None, ""
    return process.returncode, data.decode("utf-8", "replace").strip()


def _rows(text: str, width: int) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [row for row in rows if len(row) == width]


def _number(text: str) -> int | None:
    """``[N/A]``, ``[Not Supported]`` and ``[Unknown Error]`` are None."""
    return int(text) if text.isdigit() else None


def _flag(text: str) -> bool | None:
    """Drivers say ``Yes`` and ``No``, or a number."""
    if text.isdigit():
        return int(text) > 0
    return {"yes": True, "no": False}.get(text.lower())


def _trouble(kind: str, text: str) -> dict[str, str]:
    return {"kind": kind, "text": " ".join(text.split())[:TEXT]}


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# --- the kernel's log ---------------------------------------------------------------------------


def _kernel() -> list[str] | None:
    """Lines about GPUs since boot; None when nobody lets us read them."""
    deadline = time.monotonic() + KERNEL
    journal = ["journalctl", "-k", "-b", "-q", "--no-pager", "-o", "cat"]
    for words in (["dmesg"], ["sudo", "-n", "dmesg"], journal, ["sudo", "-n", *journal]):
        code, text = _call_all([words], max(0.1, deadline - time.monotonic()))[0]
        if code == 0:
            lines = [line.strip()[:TEXT] for line in text.splitlines() if _TELLING.search(line)]
            return lines[-LINES:]
    return None


# --- CUDA ---------------------------------------------------------------------------------------


class Wrong(Exception):
    """CUDA failed where sound hardware does not."""


def _cuda(count: int, begun: float) -> dict[str, Any]:
    """Each GPU in a process of its own, side by side: one that hangs is left behind."""
    found: dict[str, Any] = {"ok": 0, "copied": 0, "bad": [], "skipped": ""}
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        found["skipped"] = "no CUDA library: %s" % error
        return found
    deadline = time.monotonic() + CUDA
    children = [(number, *_fork(number, begun)) for number in range(count)]
    for number, pid, pipe in children:
        state, text = _outcome(pid, pipe, deadline)
        if state == "ok":
            found["ok"] += 1
        if state in ("ok", "copied"):
            found["copied"] += 1
        if state == "bad":
            found["bad"].append("GPU %d: %s" % (number, text))
        elif text:
            found["skipped"] = text
    return found


def _fork(number: int, begun: float) -> tuple[int, int]:
    """A process that works on one GPU and says what it comes to: its id, and where it says so."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)
        _work(number, begun, lambda state, text: _say(writing, state, text))
        code = 0
    finally:
        os._exit(code)


def _say(handle: int, state: str, text: str) -> None:
    os.write(handle, (json.dumps([state, text]) + "\n").encode())


def _outcome(pid: int, pipe: int, deadline: float) -> tuple[str, str]:
    """The last word of a process, and what it stood for."""
    data, over, status = b"", False, 0
    while not over:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            break
        piece = os.read(pipe, 65536)
        data, over = data + piece, not piece
    os.close(pipe)
    if not over:
        os.kill(pid, signal.SIGKILL)
    else:
        status = os.waitpid(pid, 0)[1]
    state, text = json.loads(data.splitlines()[-1]) if data.strip() else ("", "")
    if state in ("ok", "copied", "bad", "skipped"):
        return state, text
    if not over and state == "working":
        return "bad", "CUDA work did not end within %g s" % CUDA
    if not over:
        return "skipped", "CUDA was not ready within %g s" % CUDA
    died = "the process that used CUDA died (status %d)" % status
    return ("bad" if state == "working" else "skipped"), died


def _work(number: int, begun: float, say: Callable[[str, str], None]) -> None:
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")  # reads what is used, from a cold disk
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        _start(cuda, begun)
        _enter(cuda, number)
        library, handle, why = _blas()
        say("working", "")
        skipped = why if library is None else ""
        skipped = _multiply(cuda, library, handle) or skipped
        say("copied" if skipped else "ok", skipped)
    except Wrong as error:
        say("bad", str(error))
    except (OSError, AttributeError) as error:  # a library that lacks what ours has
        say("skipped", str(error))


def _start(cuda: Any, begun: float) -> None:
    """``cuInit``; again while the driver's other parts (uvm, fabric manager) may be starting."""
    while True:
        code = cuda.cuInit(0)
        if not code:
            return
        if time.monotonic() - begun > LOADING:
            raise Wrong("cuInit failed: %s" % _error(cuda, code))
        time.sleep(AGAIN)


def _enter(cuda: Any, number: int) -> None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _must(cuda, "cuDeviceGet", ctypes.byref(device), number)
    _must(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    _must(cuda, "cuCtxSetCurrent", context)


def _must(cuda: Any, name: str, *arguments: Any) -> None:
    code = getattr(cuda, name)(*arguments)
    if code:
        raise Wrong("%s failed: %s" % (name, _error(cuda, code)))


def _error(cuda: Any, code: int) -> str:
    text = ctypes.c_char_p()
    if not cuda.cuGetErrorName(code, ctypes.byref(text)) and text.value:
        return "%s (%d)" % (text.value.decode("ascii", "replace"), code)
    return "CUDA error %d" % code


def _blas() -> tuple[Any, Any, str]:
    """The newest cuBLAS that this driver can use and its handle; or None twice, and why."""
    names = ["libcublas.so.13", "libcublas.so.12", "libcublas.so.11"]
    names += sorted((path for shape in _LIBRARIES for path in glob.glob(shape)), reverse=True)
    why = "no cuBLAS library"
    for name in names:
        try:
            blas = ctypes.CDLL(name)
        except OSError:
            continue
        handle = ctypes.c_void_p()
        status = blas.cublasCreate_v2(ctypes.byref(handle))
        if not status:
            return blas, handle, ""
        why = "%s does not start (status %d)" % (name, status)  # too new for the driver
    return None, None, why


def _multiply(cuda: Any, library: Any, handle: Any) -> str:
    """Copy two matrices to the GPU and back, and multiply them where there is a library for it; why
    that cannot be done, or an empty text.

    Small whole numbers: every way to add them up gives the same, TF32 included. The product is
    checked as ``C r = A (B r)``, which needs no cube of the size here.
    """
    a = array.array("f", (float((7 * n + n // SIDE) % 5) for n in range(SIDE * SIDE)))
    b = array.array("f", (float((3 * n + n // SIDE) % 4) for n in range(SIDE * SIDE)))
    size = a.itemsize * len(a)
    places = [ctypes.c_uint64() for _ in range(3)]
    for place in places:
        _must(cuda, "cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(size))
    for place, matrix in zip(places, (a, b)):
        address = ctypes.c_void_p(matrix.buffer_info()[0])
        _must(cuda, "cuMemcpyHtoD_v2", place, address, ctypes.c_size_t(size))
    if _back(cuda, places[0], size) != a or _back(cuda, places[1], size) != b:
        raise Wrong("what was copied to its memory came back changed")
    if library is None:
        return ""
    one, zero, n = ctypes.c_float(1.0), ctypes.c_float(0.0), SIDE
    for _ in range(8):
        status = library.cublasSgemm_v2(
            handle, 0, 0, n, n, n, ctypes.byref(one), places[0], n, places[1], n,
            ctypes.byref(zero), places[2], n,
        )  # fmt: skip
        if status and status != _EXECUTION_FAILED:
            return "cublasSgemm does not work here (status %d)" % status
        if status:
            raise Wrong("a matrix multiplication could not be executed")
    _must(cuda, "cuCtxSynchronize")
    c = _back(cuda, places[2], size)
    r = [float(1 + k % 13) for k in range(SIDE)]
    if _times(c, r) != _times(a, _times(b, r)):
        raise Wrong("a matrix multiplication gave a wrong result")
    return ""


_EXECUTION_FAILED = 13  # CUBLAS_STATUS_EXECUTION_FAILED


def _back(cuda: Any, place: Any, size: int) -> array.array[float]:
    """What is on the GPU."""
    data = array.array("f", bytes(size))
    address = ctypes.c_void_p(data.buffer_info()[0])
    _must(cuda, "cuMemcpyDtoH_v2", address, place, ctypes.c_size_t(size))
    return data


def _times(matrix: array.array[float], vector: list[float]) -> list[float]:
    """A matrix, column by column as cuBLAS has it, times a vector."""
    total = [0.0] * SIDE
    for column, factor in enumerate(vector):
        part = matrix[column * SIDE : (column + 1) * SIDE]
        total = [so_far + factor * value for so_far, value in zip(total, part)]
    return total


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    print(json.dumps(examine(int(wanted.get("count", 1)))))
    sys.stdout.flush()
    os._exit(0)  # not waiting for anything that hangs
