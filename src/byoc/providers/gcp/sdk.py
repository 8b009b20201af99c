"""Google's SDK: imported when first spoken to, and only the services that byoc asks.

``import google.cloud.compute_v1`` loads every service of Compute Engine: 1.0 s and 95 MB on top of
google-auth. What is needed here takes 0.4 s and 55 MB; most of it is the one file of all messages.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import warnings
from types import ModuleType
from typing import Any

from ...errors import AccessError

PACKAGE = "google.cloud.compute_v1"
INSTALL = "Run: pip install 'byoc-cloud[gcp]'"
_LOCK = threading.Lock()


class _Package(ModuleType):
    """The package without what its ``__init__`` imports, until somebody asks for some of that."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name == "__path__" or spec is None or spec.loader is None or self.__dict__.get("whole"):
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
        if importlib.util.find_spec(f"{PACKAGE}.{name}") is not None:
            raise AttributeError(name)  # a submodule, which the import system loads by itself
        self.__dict__["whole"] = True
        spec.loader.exec_module(self)
        return getattr(self, name)


def load(module: str) -> Any:
    """A module of the SDK: ``services.instances``, ``types.compute``, or a full name of another.

    Raises AccessError when the SDK is not installed.
    """
    name = module if module.startswith("google.") else f"{PACKAGE}.{module}"
    with _LOCK:
        try:
            if name in sys.modules:
                return sys.modules[name]
            _prepare()
            # Google's libraries say of Pythons that we support that these are old. Not undone: that
            # would take away what other threads have set meanwhile.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
            return importlib.import_module(name)
        except ImportError as error:
            raise AccessError(
                f"Google's SDK for Compute Engine cannot be used: {error}",
                provider="gcp",
                vendor_code=type(error).__name__,
                scope="cloud",
                hints=(INSTALL,),
            ) from error


def _prepare() -> None:
    if PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    package = _Package(PACKAGE)
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[PACKAGE] = package
