"""Run decorated Python on GPUs in your own cloud accounts.

Everything public is in ``__all__`` and loaded when first used, so ``import byoc`` costs a few
milliseconds on the client and inside containers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _lazy
from ._version import __version__

if TYPE_CHECKING:
    from . import exception, experimental, functions, gpu
    from .errors import Error
    from .images.mount import Mount
    from .images.patterns import FilePatternMatcher
    from .images.recipe import Image
    from .sdk.app import App
    from .sdk.call import FunctionCall
    from .sdk.cls import Cls
    from .sdk.cluster import Cluster, clustered
    from .sdk.context import current_function_call_id, current_input_id, is_local
    from .sdk.function import Function
    from .sdk.marks import (
        batched,
        concurrent,
        enter,
        exit,  # noqa: A004
        method,
        on_preempt,
        parameter,
    )
    from .sdk.preemption import Preemption
    from .sdk.retries import Retries
    from .sdk.running import enable_output
    from .sdk.secret import Secret

_PLACES = {
    "App": "byoc.sdk.app:App",
    "Cls": "byoc.sdk.cls:Cls",
    "Cluster": "byoc.sdk.cluster:Cluster",
    "Error": "byoc.errors:Error",
    "FilePatternMatcher": "byoc.images.patterns:FilePatternMatcher",
    "Function": "byoc.sdk.function:Function",
    "FunctionCall": "byoc.sdk.call:FunctionCall",
    "Image": "byoc.images.recipe:Image",
    "Mount": "byoc.images.mount:Mount",
    "Preemption": "byoc.sdk.preemption:Preemption",
    "Retries": "byoc.sdk.retries:Retries",
    "Secret": "byoc.sdk.secret:Secret",
    "batched": "byoc.sdk.marks:batched",
    "clustered": "byoc.sdk.cluster:clustered",
    "concurrent": "byoc.sdk.marks:concurrent",
    "current_function_call_id": "byoc.sdk.context:current_function_call_id",
    "current_input_id": "byoc.sdk.context:current_input_id",
    "enable_output": "byoc.sdk.running:enable_output",
    "enter": "byoc.sdk.marks:enter",
    "exception": "byoc.exception",
    "experimental": "byoc.experimental",
    "exit": "byoc.sdk.marks:exit",
    "functions": "byoc.functions",
    "gpu": "byoc.gpu",
    "is_local": "byoc.sdk.context:is_local",
    "method": "byoc.sdk.marks:method",
    "on_preempt": "byoc.sdk.marks:on_preempt",
    "parameter": "byoc.sdk.marks:parameter",
}
_OLD = {"Stub": ("App", "byoc.sdk.app:App")}
"""Old names: what to write now, and where it is."""
_LATER = {
    **dict.fromkeys(
        [
            *("Client", "CloudBucketMount", "Cron", "Dict", "Environment"),
            *("NetworkFileSystem", "Period", "Probe", "Proxy", "Queue", "Sandbox"),
            *("SandboxSnapshot", "SchedulerPlacement", "Server", "Tunnel", "Volume", "Workspace"),
            *("asgi_app", "billing", "fastapi_endpoint", "forward"),
            *("interact", "runner", "sessioned", "web_endpoint", "web_server", "wsgi_app"),
        ],
        "",
    ),
    "build": "do it in a method under @byoc.enter(), or add it to the image",
    "interact": "byoc ssh opens a shell on a live instance",
}
"""Names that Modal has or had and this version lacks, and what to do instead."""

__all__ = [
    "App",
    "Cls",
    "Cluster",
    "Error",
    "FilePatternMatcher",
    "Function",
    "FunctionCall",
    "Image",
    "Mount",
    "Preemption",
    "Retries",
    "Secret",
    "__version__",
    "batched",
    "clustered",
    "concurrent",
    "current_function_call_id",
    "current_input_id",
    "enable_output",
    "enter",
    "exception",
    "exit",
    "experimental",
    "functions",
    "gpu",
    "is_local",
    "method",
    "on_preempt",
    "parameter",
]


def __getattr__(name: str) -> Any:
    if name in _OLD:
        new, place = _OLD[name]
        _lazy.load("byoc.notices:deprecated")(f"byoc.{name}", f"write byoc.{new}")
        return _lazy.load(place)
    if name not in _PLACES:
        raise _missing(name)
    found = _lazy.load(_PLACES[name])
    globals()[name] = found
    return found


def _missing(name: str) -> AttributeError:
    if name not in _LATER:
        return AttributeError(f"module 'byoc' has no attribute {name!r}")
    kind: type[AttributeError] = _lazy.load("byoc.errors:MissingNameError")
    hints = (_LATER[name],) if _LATER[name] else ()
    text = f"byoc.{name} is not available in this version of byoc ({__version__})"
    return kind(text, hints=hints)  # type: ignore[call-arg]


def __dir__() -> list[str]:
    return __all__
