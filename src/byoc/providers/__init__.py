"""Where instances come from. Nothing of a cloud is imported before its provider is asked for."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from ..clock import SYSTEM, Clock
from ..errors import NotFoundError
from .base import Provider

if TYPE_CHECKING:
    from ..pricing.refresh.quotes import Live
    from .lists import Asking

# The clouds' SDKs look for a library that only SOCKS proxies need. What they do so that nobody is
# told of it is undone when another one of them is loaded beside; none is loaded before this.
warnings.filterwarnings("ignore", message="SOCKS support in urllib3")

_TABLE = {
    "local": ("byoc.providers.local.provider", "LocalProvider"),
    "aws": ("byoc.providers.aws.provider", "AwsProvider"),
    "gcp": ("byoc.providers.gcp.provider", "GcpProvider"),
    "oci": ("byoc.providers.oci.provider", "OciProvider"),
}
"""Name -> (module, class). A class is made with (home, clock, environ, options)."""

_PRICES = {
    "aws": "byoc.providers.aws.prices",
    "gcp": "byoc.providers.gcp.prices",
    "oci": "byoc.providers.oci.prices",
}
"""Name -> the module whose ``live`` asks a cloud for its prices; this computer has none."""


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


def with_prices() -> tuple[str, ...]:
    """The providers that can be asked for their prices."""
    return tuple(_PRICES)


def live(name: str, asking: Asking) -> Live:
    """A cloud's prices as it tells them now. Raises NotFoundError for one that tells none, and
    ProviderError when the lists could not be read to their end."""
    if name not in _PRICES:
        raise NotFoundError(
            f"{name!r} is no cloud with prices", hints=(f"Use one of: {', '.join(_PRICES)}.",)
        )
    return cast("Live", importlib.import_module(_PRICES[name]).live(asking))
