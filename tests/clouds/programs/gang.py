"""Two ranks that add up numbers by sockets, again and again; with ``--rounds`` it takes a while."""

import os
import socket
import struct
import time

import byoc

app = byoc.App("gang")


def peers(patience: float = 20.0) -> list[socket.socket]:
    """Rank 0: a connection to each of the others; of another rank: the one to rank 0."""
    port = int(os.environ["MASTER_PORT"])
    if os.environ["RANK"] == "0":
        with socket.create_server(("", port)) as door:
            door.settimeout(patience)
            return [door.accept()[0] for _ in range(int(os.environ["WORLD_SIZE"]) - 1)]
    deadline = time.monotonic() + patience
    while True:
        try:
            return [socket.create_connection((os.environ["MASTER_ADDR"], port), 2)]
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def added(value: float, others: list[socket.socket]) -> float:
    """The sum over all ranks."""
    if os.environ["RANK"] != "0":
        others[0].sendall(struct.pack("!d", value))
        return float(struct.unpack("!d", others[0].recv(8, socket.MSG_WAITALL))[0])
    total = value + sum(struct.unpack("!d", one.recv(8, socket.MSG_WAITALL))[0] for one in others)
    for one in others:
        one.sendall(struct.pack("!d", total))
    return float(total)


@app.function(nodes=2, timeout=100)
def total(rounds: int) -> tuple[float, list[str]]:
    """How often all ranks together have added up one, and who they are."""
    cluster = byoc.Cluster.from_context()
    others = peers()
    value = 0.0
    for number in range(rounds):
        value += added(1.0, others)
        print(f"round {number}", flush=True)
        time.sleep(0.1)
    for one in others:
        one.close()
    return value, cluster.container_ips()


@app.local_entrypoint()
def main(rounds: int = 40) -> None:
    """A short call, then one in whose middle a node may be lost."""
    first, before = total.remote(1)
    second, after = total.remote(rounds)
    print("sums", first, second)
    print("kept", len(set(before) & set(after)), "new", len(set(after) - set(before)))
