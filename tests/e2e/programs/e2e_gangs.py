"""Functions and a class that run on two nodes."""

import os
import socket
import time

import byoc

app = byoc.App("e2e-gangs")


def added(value: int) -> int:
    """The sum over both ranks, which rank 0 knows."""
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if os.environ["RANK"] == "0":
        with socket.create_server(where) as door, door.accept()[0] as peer:
            return value + int(peer.makefile().readline())
    while True:
        try:
            with socket.create_connection(where) as peer:
                peer.sendall(b"%d\n" % value)
                return -1
        except ConnectionRefusedError:
            time.sleep(0.02)


@app.function(nodes=2)
def total(value: int) -> int:
    """The value of both ranks, and a hundred for the second."""
    cluster = byoc.Cluster.from_context()
    assert len(cluster.container_ips()) == 2
    return added(value + 100 * cluster.container_rank())


@app.function(nodes=2)
def fails(rank: int, how: str) -> str:
    """One rank fails while the other waits."""
    mine = byoc.experimental.get_cluster_info().rank
    if how and mine != rank:
        time.sleep(60)
    if how == "raises":
        raise KeyError("one is wrong")
    if how == "exits":
        os._exit(3)
    return "fine" if mine == 0 else "not this"


@app.cls()
@byoc.clustered(size=2)
class Counter:
    """A class whose methods run on two nodes."""

    @byoc.enter()
    def begin(self) -> None:
        self.known = 0

    @byoc.method()
    def add(self, value: int) -> int:
        """What both ranks have."""
        self.known += value
        return added(self.known)
