"""Where a function's code lives, found from the function itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..engine.spec import Source
from ..errors import InvalidError


def source_of(raw: Callable[..., Any], serialized: bool) -> Source:
    """The source of a function; raises InvalidError when a container could not find it again."""
    qualname = raw.__qualname__
    if not serialized and ("<locals>" in qualname or "<lambda>" in qualname):
        raise InvalidError(
            f"{qualname} is not defined at the top of its module, so a container cannot import it",
            hints=("move it to the module's top level", "or send it pickled: serialized=True"),
        )
    module = sys.modules.get(raw.__module__)
    file = _file(module)
    if module is None or file is None:
        return Source(raw.__module__, qualname, None)
    name = raw.__module__
    main = name == "__main__"
    if main:
        spec = getattr(module, "__spec__", None)
        name = spec.name if spec is not None and spec.name else file.stem
        if name.endswith(".__main__"):
            name = name[: -len(".__main__")]
    if hasattr(module, "__path__") or "." in name:
        return Source(name, qualname, _top(name, file), package=True, main=main)
    return Source(name, qualname, file, main=main)


def _file(module: ModuleType | None) -> Path | None:
    """The module's source file; None in notebooks, on stdin and with ``python -c``."""
    name = getattr(module, "__file__", None)
    if not name or not name.endswith(".py"):
        return None
    path = Path(name).absolute()
    return path if path.is_file() else None


def _top(name: str, file: Path) -> Path:
    """The folder of the top-level package of module ``name``, whose file is ``file``."""
    depth = name.count(".")
    if file.name == "__init__.py":
        depth += 1
    return file.parents[depth - 1] if depth else file.parent
