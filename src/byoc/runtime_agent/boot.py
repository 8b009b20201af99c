"""First code on an instance: find the agent or start it, and hand it this SSH channel.

Sent as text and run by ``python -c`` with the bundle behind it on stdin. The agent is a daemon of
its own; this process passes its stdin and stdout to it (``SCM_RIGHTS``), so no byte is copied
between, and then only waits. A later connection does the same and so resumes the session.
"""

import fcntl
import json
import os
import socket
import sys


def read_exact(size: int) -> bytes:
    """``size`` bytes from stdin and not one more: what follows belongs to the agent."""
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 18))
        if not part:
            sys.exit("byoc: the bundle was cut off")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def reach() -> "socket.socket | None":
    """A connection to the agent of this instance, or None."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect("agent.sock")
    except OSError:
        link.close()
        return None
    return link


def start(bundle: bytes, digest: str) -> None:
    """Start the agent, once, however many try; returns when its socket listens."""
    with open("agent.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        link = reach()
        if link is not None:
            link.close()
            return
        path = os.path.abspath("agent-%s.pyz" % digest)
        if not os.path.exists(path):
            with open(path + ".new", "wb") as file:
                file.write(bundle)
            os.rename(path + ".new", path)
        if os.path.exists("agent.sock"):
            os.unlink("agent.sock")
        server = socket.socket(socket.AF_UNIX)
        server.bind("agent.sock")
        server.listen(16)
        if os.fork() == 0:
            become_agent(server, path, digest)
        server.close()


def become_agent(server: socket.socket, path: str, digest: str) -> None:
    """The forked child: cut loose from the SSH session, then run the agent for good."""
    os.setsid()
    log = os.open("agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    keep = server.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, 256)
    code = 1
    try:
        sys.path.insert(0, path)
        from byoc.runtime_agent import agent

        code = agent.main(server, path, digest)
    except BaseException:  # noqa: BLE001 - written to the log; nobody else would see it
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def hand_over(link: socket.socket, digest: str) -> bytes:
    """Give the agent stdin and stdout. ``+``: taken. ``-``: it retires, start anew. ``!``: busy."""
    fds = (0).to_bytes(4, sys.byteorder) + (1).to_bytes(4, sys.byteorder)
    link.sendmsg([digest.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    return link.recv(1)


def main() -> None:
    """Find the agent or start it, and stay until it gives the channel back."""
    digest = sys.argv[2]
    bundle = read_exact(int(sys.argv[1]))
    home = os.path.expanduser("~/.byoc")
    os.makedirs(home, 0o700, exist_ok=True)
    os.chdir(home)  # a relative socket path: absolute ones may exceed the 100 characters allowed
    for _ in range(5):
        link = reach()
        if link is None:
            start(bundle, digest)
            continue
        answer = hand_over(link, digest)
        if answer == b"+":
            while link.recv(4096):
                pass
            return
        if answer == b"!":
            detail = "another version of byoc is using this instance"
            print(json.dumps({"v": 1, "error": "busy", "detail": detail}), flush=True)
            return
        link.close()
    sys.exit("byoc: the agent does not stay up; see ~/.byoc/agent.log")


main()
