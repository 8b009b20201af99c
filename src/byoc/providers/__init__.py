"""Where instances come from. Nothing of a cloud is imported before its provider is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

from ..clock import SYSTEM, Clock
from ..errors import NotFoundError
from .base import Provider

_TABLE = {
    "local": ("byoc.providers.local.provider", "LocalProvider"),
    "aws": ("byoc.providers.aws.provider", "AwsProvider"),
    "gcp": ("byoc.providers.gcp.provider", "GcpProvider"),
    "oci": ("byoc.providers.oci.provider", "OciProvider"),
}
"""Name -> (module, class). A class is made with (home, clock, environ, options)."""


def names() -> tuple[str, ...]:
    """Every provider this version knows, in no order of preference."""
    return tuple(_TABLE)


def get(
    name: str,
    home: Path,
    environ: Mapping[str, str],
    clock: Clock = SYSTEM,
    options: Mapping[str, str] = MappingProxyType({}),
) -> Provider:
    """The provider of that name. ``home``: ``BYOC_HOME``; ``options``: its own settings, as
    ``Settings.of_cloud`` gives them. Raises NotFoundError for a name that it does not know."""
    if name not in _TABLE:
        raise NotFoundError(
            f"there is no provider {name!r}", hints=(f"Use one of: {', '.join(_TABLE)}.",)
        )
    module, attribute = _TABLE[name]
    factory = getattr(importlib.import_module(module), attribute)
    return cast(Provider, factory(home, clock, environ, options))
