"""The system calls that Python has no function for. Each raises OSError."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 24, 36
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x891C, 0x8914, 1
_SIOCSIFMTU, _TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x8922, 0x400454CA, 1, 0x1000
TUN = "/dev/net/tun"
MTU = 9000
"""Bytes of a packet between machines: clouds' own networks have so large ones."""
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """New namespaces; a new process namespace is for children only."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """See ``mount(2)``."""
    words = (source.encode(), target.encode(), kind.encode() or None)
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def bind(source: str, target: str, writable: bool = False) -> None:
    """Show ``source`` at ``target``, which exists, as it is now; only for reading unless told."""
    mount(source, target, "", BIND)
    if not writable:
        mount("", target, "", BIND | REMOUNT | RDONLY | NOSUID)


def pivot(root: str) -> None:
    """Make ``root``, a mount point, the root of this mount namespace, and forget the old one."""
    os.chdir(root)
    number = _PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount the old root")
    os.chdir("/")


def die_with_parent(number: int) -> None:
    """Get a signal when the parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of all orphans below."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def drop(capabilities: Iterable[int]) -> None:
    """Take capabilities from everything that is started from here on."""
    for one in capabilities:
        _check(_libc.prctl(_PR_CAPBSET_DROP, one, 0, 0, 0), "prctl")


def loopback_up(more: str) -> None:
    """Bring ``lo`` up, with one more address on it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
        for request, address in ((_SIOCSIFADDR, more), (_SIOCSIFNETMASK, "255.255.255.255")):
            wanted = struct.pack(
                "16sHH4s16x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address)
            )
            fcntl.ioctl(handle, request, wanted)


def wire(name: str, address: str) -> int:
    """A network device of this network namespace with this address, and all of its private net
    behind it; the descriptor at which its packets come out and go in."""
    handle = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        device = name.encode()
        wanted = struct.pack("16sH22x", device, _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(handle, _TUNSETIFF, wanted)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            for request, number in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, net_of(address))):
                numbers = socket.inet_aton(number)
                data = struct.pack("16sHH4s16x", device, socket.AF_INET, 0, numbers)
                fcntl.ioctl(asked, request, data)
            fcntl.ioctl(asked, _SIOCSIFMTU, struct.pack("16si20x", device, MTU))
            fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sH22x", device, _IFF_UP))
    except OSError:
        os.close(handle)
        raise
    return handle


def net_of(address: str) -> str:
    """The mask of the private net (RFC 1918) that an address is in."""
    if address.startswith("10."):
        return "255.0.0.0"
    return "255.240.0.0" if address.startswith("172.") else "255.255.0.0"
