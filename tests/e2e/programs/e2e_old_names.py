"""A program as one wrote them for Modal years ago; only the import is another."""

import os

import byoc as modal
from byoc.exception import InvalidError  # noqa: F401 - imported as programs do
from byoc.functions import gather

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "e2e_helper.py")

image = modal.Image.debian_slim()
if modal.is_local():
    image = image.copy_local_file(TEXT, "/root/copied.txt")
    MOUNTS = [modal.Mount.from_local_file(TEXT, "/root/mounted.txt")]
else:
    MOUNTS = []

stub = modal.Stub("old-names", image=image)


@stub.function(
    secret=modal.Secret.from_dict({"OLD_SECRET": "s"}),
    mounts=MOUNTS,
    concurrency_limit=2,
    container_idle_timeout=30,
    keep_warm=0,
    allow_concurrent_inputs=4,
    retries=1,
)
def old(x):
    found = [os.path.exists(f"/root/{name}.txt") for name in ("copied", "mounted")]
    return x, os.environ["OLD_SECRET"], found


@stub.function(gpu=None, max_inputs=1)
def once(x):
    return os.getpid()


@stub.cls(container_idle_timeout=30, allow_concurrent_inputs=2)
class Old:
    def __init__(self, size, names=("a",)):
        self.size = size
        self.names = names

    def __enter__(self):
        self.ready = True

    def __exit__(self, exc_type, exc_value, traceback):
        print("left", exc_type)

    @modal.method()
    def go(self, x):
        return self.size * x, self.names, self.ready


@stub.cls()
class OnMethod:
    @modal.enter()
    def load(self):
        self.loaded = 1

    @modal.concurrent(max_inputs=10, target_inputs=8)
    @modal.method()
    def item(self, x):
        return x + self.loaded


@stub.local_entrypoint()
def main():
    print("old", old.remote(1))
    print("map", [row[0] for row in old.map(range(3), wrap_returned_exceptions=False)])
    print("once", once.remote(1) != once.remote(1))
    print("cls", Old(3, names=("b", "c")).go.remote(2))
    print("method", list(OnMethod().item.map([1, 2])))
    print("gather", gather(once.spawn(1), old.spawn(2))[1][0])
    print("options", old.with_options(concurrency_limit=1).remote(7)[0])
