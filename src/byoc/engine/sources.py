"""How a function's code travels: by its file or package, or pickled by value."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from ..errors import ExecutionError, InvalidError
from ..images import mounts
from ..runtime_agent import payload
from .results import unpicklable
from .spec import FunctionSpec

BIG_FUNCTION = 256 * 1024
"""A pickled function above this has probably captured data (Modal warns at the same size)."""
HUGE_FUNCTION = 16 * 1024 * 1024
"""Modal's limit."""


def by_value(spec: FunctionSpec) -> bool:
    """The function travels pickled: asked for, or it has no file."""
    return spec.serialized or spec.source.file is None


def check_travel(spec: FunctionSpec) -> None:
    """Refuse, before anything is rented, a pickled function whose image has another Python."""
    theirs = spec.image.python_version
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if theirs is None or not by_value(spec):
        return
    if ".".join(theirs.split(".")[:2]) != ours:
        why = "serialized=True" if spec.serialized else "it has no source file"
        raise ExecutionError(
            f"{spec.name} travels pickled ({why}), which needs the same Python on both sides: "
            f"its image has {theirs}, this is {ours}",
            hints=(
                "put the function in a file, so that its source is sent",
                f"or use Image.debian_slim(python_version='{ours}')",
            ),
        )


def files_of(spec: FunctionSpec, notice: Callable[[str], None]) -> list[mounts.FileEntry]:
    """The files that a function's containers need: its source and its image's local files."""
    groups = []
    source = spec.source
    if spec.include_source and not by_value(spec) and source.file is not None:
        if source.package:
            groups.append(mounts.for_package(source.file, notice))
        else:
            groups.append(mounts.for_module_file(source.file))
    groups.append(mounts.for_image(spec.image, notice))
    return mounts.collect(*groups)


def pickled(spec: FunctionSpec) -> list[payload.Buffer]:
    """The function by value. Raises SerializationError or InvalidError."""
    import cloudpickle  # 20 ms: loaded only by those who need it

    module = sys.modules.get(spec.raw.__module__)
    registered = module is not None and spec.raw.__module__ != "__main__"
    if registered:
        cloudpickle.register_pickle_by_value(module)
    try:
        buffers = payload.try_dumps(spec.raw, by_value=True)
    except payload.PickleFailure as failure:
        what = f"the function {spec.name}"
        raise unpicklable(what, spec.raw, failure.reason) from failure.reason
    finally:
        if registered:
            cloudpickle.unregister_pickle_by_value(module)
    size = sum(memoryview(buffer).nbytes for buffer in buffers)
    if size > HUGE_FUNCTION:
        raise InvalidError(
            f"{spec.name} is {size >> 20} MiB pickled, more than {HUGE_FUNCTION >> 20} MiB",
            hints=("pass large data as an argument, or read it inside the function",),
        )
    if size > BIG_FUNCTION:
        warnings.warn(f"{spec.name} is {size >> 10} KiB pickled: it captures data", stacklevel=2)
    return buffers


def interpreters() -> list[str]:
    """Pythons of this computer that the local provider may use for an image's environment."""
    own = os.path.realpath(sys.executable)
    managed = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    return [own, *map(str, managed)]
