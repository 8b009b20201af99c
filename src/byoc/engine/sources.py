"""How a function's code travels: by its file or package, or pickled by value."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidError
from ..images import mounts, native
from ..images.recipe import Image
from ..runtime_agent import payload
from .results import unpicklable
from .spec import FunctionSpec, local_minor

BIG_FUNCTION = 256 * 1024
"""A pickled function above this has probably captured data (Modal warns at the same size)."""
HUGE_FUNCTION = 16 * 1024 * 1024
"""Modal's limit."""


def plan_of(image: Image) -> native.EnvPlan:
    """How an image's environment is built; one that names no Python gets the client's."""
    return native.plan(image, local_python=local_minor(), candidates=interpreters())


def files_of(spec: FunctionSpec, notice: Callable[[str], None]) -> list[mounts.FileEntry]:
    """The files that a function's containers need: its source and its image's local files."""
    groups = []
    source = spec.source
    if spec.include_source and not spec.by_value and source.file is not None:
        if source.package:
            groups.append(mounts.for_package(source.file, notice))
        else:
            groups.append(mounts.for_module_file(source.file))
    groups.append(mounts.for_image(spec.image, notice))
    return mounts.collect(*groups)


def left_behind(spec: FunctionSpec, missing: str) -> str:
    """What to say when a container lacks a module that lies beside the function's file."""
    file = spec.source.file
    if file is None:
        return ""
    name = missing.partition(".")[0]
    if not (file.with_name(f"{name}.py").is_file() or file.with_name(name).is_dir()):
        return ""
    return (
        f"{name} lies beside {file.name} but is not part of it, so it was not sent; "
        f"add it to the image: .add_local_python_source({name!r})"
    )


def pickled(spec: FunctionSpec) -> list[payload.Buffer]:
    """The function by value. Raises SerializationError or InvalidError."""
    import cloudpickle  # 20 ms: loaded only by those who need it

    module = sys.modules.get(spec.raw.__module__)
    known = {"__main__", *cloudpickle.list_registry_pickle_by_value()}
    registered = module is not None and spec.raw.__module__ not in known
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
