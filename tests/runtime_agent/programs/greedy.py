"""Functions that use more of a machine than they should, and say what they see of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

MB = 1024 * 1024
PAGE = 4096


def hoard(mib, hold=0.0):
    """Fills memory and keeps it for a while."""
    data = filled(mib)
    time.sleep(hold)
    return len(data)


def filled(mib):
    data = bytearray(mib * MB)
    for at in range(0, len(data), PAGE):
        data[at] = 1
    return data


def hoard_below(children, mib):
    """Lets each of some forked children fill memory, and waits for them."""
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            hoard(mib, 60)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def share(children, mib, hold):
    """Fills memory that forked children then only read."""
    data = filled(mib)
    pids = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            sum(data[at] for at in range(0, len(data), PAGE))
            time.sleep(hold)
            os._exit(0)
        pids.append(pid)
    return [os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in pids]


def bomb(most, own_sessions):
    """Forks, and so does every child, until there are ``most``."""
    tokens, more = os.pipe()
    os.write(more, bytes(most))
    os.close(more)
    while os.read(tokens, 1):
        if os.fork() == 0 and own_sessions:
            os.setsid()
    while True:
        signal.pause()


def daemon(way):
    """Leaves a process behind that has cut every tie; its process id."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        os.waitpid(pid, 0)
        return int(os.read(read, 100))
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(write, b"%d" % os.getpid())
    os.chdir("/")
    os.closerange(0, 256)
    if way == "exec":
        os.execve("/bin/sleep", ["sleep", "1000"], {"BYOC_TASK_ID": os.environ["BYOC_TASK_ID"]})
    if way == "renamed":
        os.execve("/bin/sleep", ["postmaster", "1000"], {})
    while True:
        time.sleep(1000)


def score():
    """What the kernel adds to the container, and to a program that it starts."""
    code = "print(open('/proc/self/oom_score_adj').read())"
    below = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    with open("/proc/self/oom_score_adj") as own:
        return [int(own.read()), int(below.stdout)]


def add(a, b):
    return a + b
