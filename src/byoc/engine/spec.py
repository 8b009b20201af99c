"""What a function was declared to be: the engine's view of a decorated function.

Travels in the bundle too, because declaring works the same inside a container.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ExecutionError
from ..resources import Resources

if TYPE_CHECKING:
    from ..images.recipe import Image


def local_minor() -> str:
    """This interpreter's minor version, such as ``3.12``."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


class Source(NamedTuple):
    """Where a function's code is.

    ``module``/``qualname``: how the container finds it again. ``file``: its script (or its
    package's top folder when ``package``), None for code without a file. ``main``: it was defined
    in ``__main__``, so types of ``__main__`` and of ``module`` are the same.
    """

    module: str
    qualname: str
    file: Path | None
    package: bool = False
    main: bool = False


class RetryPolicy(NamedTuple):
    """How often and when an attempt that failed is made again. Delays in seconds."""

    max_retries: int
    initial_delay: float = 1.0
    backoff: float = 1.0
    max_delay: float = 60.0

    def delay(self, failures: int) -> float:
        """The pause after the ``failures``-th failure (1 is the first)."""
        return float(min(self.max_delay, self.initial_delay * self.backoff ** (failures - 1)))


class Concurrency(NamedTuple):
    """Inputs that a container runs at once: scaling aims at ``target``, bursts go to ``most``."""

    most: int = 1
    target: int = 1


ONE_AT_A_TIME = Concurrency()


class Batching(NamedTuple):
    """Inputs are run together: up to ``size`` of them, the first waiting at most ``wait`` s."""

    size: int
    wait: float


@dataclass(frozen=True)
class FunctionSpec:
    """What one kind of container serves: a function, or a class with its methods.

    ``raw``: the undecorated function or class. ``environ``: gives the variables of ``secrets=`` and
    ``env=``, asked once per run. ``timeout``/``startup_timeout``: seconds per attempt / for import
    and set-up. ``methods``: of a class, each method's name and whether it is a generator; empty
    for a function. ``parameters``: of a class, its ``parameter()`` values as canonical JSON (bytes
    as ``{"b64": ...}``). ``variant``: what ``with_options`` and the like changed, as canonical
    JSON, so that a container can name this spec to the client. ``memory_limit``: MiB, above which
    a container is killed; None is no limit. ``on_preempt``: of a function, the user's hook for the
    machine's last moments. ``nodes``: so many containers, one on each of as many instances, work on
    each input together. All callers of one spec object share its containers.
    """

    app: str
    name: str
    raw: Callable[..., Any] = field(repr=False)
    source: Source
    image: Image
    resources: Resources
    environ: Callable[[], dict[str, str]] = field(repr=False)
    timeout: float
    startup_timeout: float
    serialized: bool = False
    generator: bool = False
    include_source: bool = True
    retries: RetryPolicy | None = None
    min_containers: int = 0
    max_containers: int | None = None
    buffer_containers: int = 0
    scaledown_window: float | None = None
    single_use: bool = False
    concurrency: Concurrency = ONE_AT_A_TIME
    batching: Batching | None = None
    methods: tuple[tuple[str, bool], ...] = ()
    parameters: str = ""
    variant: str = ""
    memory_limit: int | None = None
    on_preempt: Callable[..., Any] | None = field(default=None, repr=False)
    nodes: int = 1

    def yields(self, method: str = "") -> bool:
        """Whether the function, or this method of the class, is a generator."""
        return dict(self.methods)[method] if method else self.generator

    @property
    def by_value(self) -> bool:
        """The function travels pickled: asked for, or it has no file."""
        return self.serialized or self.source.file is None

    def check_travel(self) -> None:
        """Refuse a pickled function whose image has another Python than this one.

        Raises ExecutionError; where the function is declared, so before anything is rented.
        """
        theirs = self.image.python_version
        ours = local_minor()
        if theirs is None or not self.by_value or ".".join(theirs.split(".")[:2]) == ours:
            return
        why = "serialized=True" if self.serialized else "it has no source file"
        raise ExecutionError(
            f"{self.name} travels pickled ({why}), which needs the same Python on both sides: "
            f"its image has {theirs}, this is {ours}",
            hints=(
                "put the function in a file, so that its source is sent",
                f"or use Image.debian_slim(python_version='{ours}')",
            ),
        )

    @property
    def renames(self) -> dict[str, str]:
        """Modules of pickled results that have another name here."""
        return {self.source.module: "__main__"} if self.source.main else {}
