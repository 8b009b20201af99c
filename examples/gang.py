"""A gang: one call on two machines at once, whose ranks add up what each of them has found.

byoc run examples/gang.py --size 1000
"""

import importlib.util
import os
import socket
import time

import byoc

app = byoc.App("gang")


def added_by_torch(value: int) -> int:
    """The sum over all ranks, by torch.distributed, which finds them by the environment."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    tensor = torch.tensor(value)
    dist.all_reduce(tensor)
    return int(tensor)


def added_by_sockets(value: int) -> int:
    """The same without PyTorch; what rank 0 returns is right, which is what counts."""
    first, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if os.environ["RANK"] == "0":
        with socket.create_server(("", port)) as door:
            for _ in range(int(os.environ["WORLD_SIZE"]) - 1):
                with door.accept()[0] as peer:
                    value += int(peer.makefile().readline())
        return value
    while True:
        try:
            with socket.create_connection((first, port)) as peer:
                peer.sendall(b"%d\n" % value)
                return value
        except ConnectionRefusedError:  # rank 0 does not listen yet
            time.sleep(0.1)


@app.function(nodes=2, timeout=600)
def total(size: int) -> int:
    cluster = byoc.Cluster.from_context()
    rank, ips = cluster.container_rank(), cluster.container_ips()
    mine = sum(range(rank, size, len(ips)))
    print(f"I am at {ips[rank]} and have {mine}")
    return (added_by_torch if importlib.util.find_spec("torch") else added_by_sockets)(mine)


@app.local_entrypoint()
def main(size: int = 1000) -> None:
    print(f"the sum of the numbers below {size} is {total.remote(size)}")
