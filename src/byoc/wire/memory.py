"""Memory for large buffers that are filled from outside."""

from __future__ import annotations

import ctypes
import mmap
import sys

HUGE = 2 * 1024 * 1024
"""Bytes of a large page; and the least that it is asked for."""


def allocate(size: int) -> bytearray:
    """A bytearray of ``size`` bytes with nothing in particular in them: to be overwritten whole.

    ``bytearray(size)`` writes zeros first, and a new page of the system costs a fault for every
    4 KiB: together as much as moving the bytes through SSH. Raises MemoryError.
    """
    if size < HUGE or sys.implementation.name != "cpython":
        return bytearray(size)
    data: bytearray = _make(None, size)
    if _libc is not None:
        start = ctypes.addressof(ctypes.c_char.from_buffer(data))
        first = start + -start % mmap.PAGESIZE
        _libc.madvise(first, (start + size - first) // HUGE * HUGE, _MADV_HUGEPAGE)  # or it is not
    return data


_MADV_HUGEPAGE = 14  # <sys/mman.h> of Linux
_make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyByteArray_FromStringAndSize", ctypes.pythonapi)
)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
if _libc is not None:
    _libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
