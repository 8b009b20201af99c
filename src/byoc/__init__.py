"""Run decorated Python on GPUs in your own cloud accounts.

Everything public is in ``__all__`` and loaded when first used, so ``import byoc`` costs a few
milliseconds on the client and inside containers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _lazy
from ._version import __version__

if TYPE_CHECKING:
    from . import errors as exception
    from .images.patterns import FilePatternMatcher
    from .images.recipe import Image
    from .sdk.app import App
    from .sdk.call import FunctionCall
    from .sdk.context import is_local
    from .sdk.function import Function
    from .sdk.retries import Retries
    from .sdk.running import enable_output
    from .sdk.secret import Secret

_PLACES = {
    "App": "byoc.sdk.app:App",
    "FilePatternMatcher": "byoc.images.patterns:FilePatternMatcher",
    "Function": "byoc.sdk.function:Function",
    "FunctionCall": "byoc.sdk.call:FunctionCall",
    "Image": "byoc.images.recipe:Image",
    "Retries": "byoc.sdk.retries:Retries",
    "Secret": "byoc.sdk.secret:Secret",
    "enable_output": "byoc.sdk.running:enable_output",
    "exception": "byoc.errors",
    "is_local": "byoc.sdk.context:is_local",
}
_LATER = frozenset(
    [
        *("CloudBucketMount", "Cls", "Cluster", "Cron", "Dict", "NetworkFileSystem", "Period"),
        *("Proxy", "Queue", "Sandbox", "Volume", "asgi_app", "batched", "clustered", "concurrent"),
        *("current_function_call_id", "current_input_id", "enter", "exit", "fastapi_endpoint"),
        *("forward", "method", "parameter", "web_endpoint", "web_server", "wsgi_app"),
    ]
)
"""Names that Modal has and that later versions bring."""

__all__ = [
    "App",
    "FilePatternMatcher",
    "Function",
    "FunctionCall",
    "Image",
    "Retries",
    "Secret",
    "__version__",
    "enable_output",
    "exception",
    "is_local",
]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        if name in _LATER:
            missing: type[AttributeError] = _lazy.load("byoc.errors:MissingNameError")
            raise missing(f"byoc.{name} is not available in this version of byoc ({__version__})")
        raise AttributeError(f"module 'byoc' has no attribute {name!r}")
    found = _lazy.load(place)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
