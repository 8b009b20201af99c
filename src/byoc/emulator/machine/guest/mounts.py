"""What a machine sees: the host's system, read through a disk of its own, and nothing personal."""

from __future__ import annotations

import os
import stat
import sys

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEM = (
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "usr",
    "etc",
    "opt",
    "nix",
    "gnu",
    "var",
)
"""What a machine has of the host's root; everything else there is left out."""
EMPTY = {
    **dict.fromkeys(("proc", "sys", "dev", "run", "home", "mnt", "media", "srv", "boot"), 0o755),
    **dict.fromkeys(("var/log", "var/spool", "var/mail", "var/backups"), 0o755),
    **dict.fromkeys(("var/lib/cloud", "var/lib/docker", "var/lib/containers"), 0o755),
    **dict.fromkeys(("etc/ssh", "etc/cloud"), 0o755),
    **dict.fromkeys(("etc/ssl/private", "etc/sudoers.d"), 0o700),
    **dict.fromkeys(("tmp", "var/tmp"), 0o1777),
    "root": 0o700,
}
"""Folders that a machine has for itself, empty at first, whatever the host keeps there."""
_DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_TTY = os.makedev(5, 0)
_REAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "squashfs", "erofs", "f2fs")
"""Kinds of file systems that may hold a part of the host's system, such as its ``/usr``."""
_OPAQUE = "trusted.overlay.opaque"


def system(plan: dict[str, Any]) -> None:
    """Enter a machine's own file tree. ``plan``: see :mod:`byoc.emulator.machine.plans`."""
    folder = plan["folder"]
    kernel.mount("none", "/", "", kernel.REC | kernel.PRIVATE)
    binds = _host_mounts() + [path for path in plan["visible"] if os.path.exists(path)]
    disk = f"{folder}/disk"
    if plan["memory_disk"] and not os.path.ismount(disk):
        kernel.mount("disk", disk, "tmpfs", 0, "mode=700")
    root = f"{folder}/root"
    first = not os.path.isdir(f"{disk}/upper")
    if first:
        _make_upper(f"{disk}/upper", plan)
    work = f"{disk}/work{plan['boots']}"  # a new one each time: a "volatile" one is used up
    os.mkdir(work, 0o700)
    lower = f"lowerdir=/,upperdir={disk}/upper,workdir={work},volatile"
    kernel.mount("disk", root, "overlay", 0, lower)
    for path in binds:
        _show(path, root + path)
    _pseudo(root)
    kernel.pivot(root)


def _make_upper(upper: str, plan: dict[str, Any]) -> None:
    os.makedirs(upper, 0o755)
    for name in os.listdir("/"):
        if name not in SYSTEM and name not in EMPTY:
            os.mknod(f"{upper}/{name}", stat.S_IFCHR, 0)  # as overlay notes that it was removed
    for name, mode in EMPTY.items():
        _parents(upper, name)
        path = f"{upper}/{name}"
        os.mkdir(path, mode)
        os.chmod(path, mode)
        os.setxattr(path, _OPAQUE, b"y")
    for path in plan["absent"]:
        _parents(upper, path)
        os.mknod(upper + path, stat.S_IFCHR, 0)
    for path, mode, text in plan["files"]:
        _parents(upper, path)
        handle = os.open(upper + path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(upper + path, mode)
    for path, target in plan["links"]:
        _parents(upper, path)
        os.symlink(target, upper + path)


def _parents(upper: str, path: str) -> None:
    """Folders above a path, with the rights that they have on the host."""
    done = ""
    for part in path.strip("/").split("/")[:-1]:
        done += "/" + part
        if not os.path.isdir(upper + done):
            mode = stat.S_IMODE(os.stat(done).st_mode) if os.path.isdir(done) else 0o755
            os.mkdir(upper + done)
            os.chmod(upper + done, mode)


def _host_mounts() -> list[str]:
    """Mount points of the host below the folders of its system, shallow ones first."""
    found = set()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            head, _, tail = line.partition(" - ")
            path = head.split()[4].encode().decode("unicode_escape")
            top = path.split("/")[1]
            if tail.split()[0] in _REAL and top in SYSTEM and not _emptied(path):
                found.add(path)
    return sorted(found, key=lambda path: path.count("/"))


def _emptied(path: str) -> bool:
    """Whether a path of the host is in a folder that a machine has for itself."""
    return any((path.strip("/") + "/").startswith(one + "/") for one in EMPTY)


def _show(path: str, target: str) -> None:
    """One path of the host, for reading."""
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "a", encoding="ascii"):
            pass
    kernel.bind(path, target)


def _pseudo(root: str) -> None:
    """The file systems that are no disk."""
    safe = kernel.NOSUID | kernel.NODEV | kernel.NOEXEC
    kernel.mount("proc", f"{root}/proc", "proc", safe)
    # What a write here would change is the host's.
    kernel.bind(f"{root}/proc/sys", f"{root}/proc/sys")
    if os.path.exists(f"{root}/proc/sysrq-trigger"):
        kernel.bind("/dev/null", f"{root}/proc/sysrq-trigger")
    kernel.mount("sysfs", f"{root}/sys", "sysfs", safe | kernel.RDONLY)
    if os.path.isdir(f"{root}/sys/bus/pci"):  # those devices are this computer's own
        kernel.mount("pci", f"{root}/sys/bus/pci", "tmpfs", safe | kernel.RDONLY)
    kernel.mount("run", f"{root}/run", "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=755")
    for name in ("sshd", "lock"):
        os.mkdir(f"{root}/run/{name}", 0o755)
    dev = f"{root}/dev"
    kernel.mount("dev", dev, "tmpfs", kernel.NOSUID, "mode=755")
    os.umask(0)
    for name, minor in _DEVICES.items():
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
    os.mknod(f"{dev}/tty", stat.S_IFCHR | 0o666, _TTY)
    os.umask(0o022)
    for name in ("pts", "shm"):
        os.mkdir(f"{dev}/{name}")
    data = "newinstance,ptmxmode=0666,mode=620,gid=5"
    kernel.mount("devpts", f"{dev}/pts", "devpts", kernel.NOSUID | kernel.NOEXEC, data)
    kernel.mount("shm", f"{dev}/shm", "tmpfs", kernel.NOSUID | kernel.NODEV, "mode=1777")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")


def trial(folder: str) -> str:
    """Whether machines can be made here: ``disk``, ``memory`` (their disks must be kept in memory),
    or what the system says against it."""
    said = ""
    for choice in ("disk", "memory"):
        try:
            _try(folder, choice == "memory")
        except OSError as error:
            said = str(error)
        else:
            return choice
    return said


def _try(folder: str, memory: bool) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _tried(folder, memory, write)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        said = told.read().decode()
    os.waitpid(pid, 0)
    if said:
        raise OSError(said)


def _tried(folder: str, memory: bool, write: int) -> None:
    """In a process of its own, which ends here."""
    try:
        spaces = kernel.NEWNS | kernel.NEWPID | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWNET
        kernel.unshare(spaces)
        kernel.mount("none", "/", "", kernel.REC | kernel.PRIVATE)
        place = f"{folder}/trial-{'memory' if memory else 'disk'}"
        os.makedirs(place, 0o700)
        if memory:
            kernel.mount("disk", place, "tmpfs", 0, "mode=700")
        for name in ("upper", "work", "root"):
            os.mkdir(f"{place}/{name}")
        os.setxattr(f"{place}/upper", _OPAQUE, b"y")
        data = f"lowerdir=/,upperdir={place}/upper,workdir={place}/work,volatile"
        kernel.mount("disk", f"{place}/root", "overlay", 0, data)
        kernel.loopback_up("169.254.169.254")
    except OSError as error:
        os.write(write, str(error).encode())
    finally:
        sys.stdout.flush()
        os._exit(0)
