"""The providers of this version, by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

from .. import providers
from ..clock import Clock
from ..errors import SettingsError
from ..providers.base import Provider
from ..settings import Settings

NO_SOCKS = "SOCKS support in urllib3 requires"
"""What a vendor's HTTP library says to everybody who has no use for such a proxy."""


class Registry(Mapping[str, Provider]):
    """Every provider of this version by name, each made when it is first asked for."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._made: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        if name not in providers.names():
            raise KeyError(name)
        if name not in self._made:
            options = self._settings.of_cloud(name)
            self._made[name] = providers.get(
                name, self._settings.home, self._environ, self._clock, options
            )
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in providers.names()

    def __iter__(self) -> Iterator[str]:
        return iter(providers.names())

    def __len__(self) -> int:
        return len(providers.names())


def registry(settings: Settings, environ: Mapping[str, str], clock: Clock) -> Registry:
    """The registry for a data folder. Raises SettingsError for a cloud it does not know."""
    # Set before any thread: SDKs that are imported side by side take back what others have set.
    warnings.filterwarnings("ignore", message=NO_SOCKS)
    found = Registry(settings, environ, clock)
    for name in settings.clouds:
        if name not in found:
            raise SettingsError(
                f"{settings.origin('clouds')}: there is no cloud {name!r} in this version of byoc",
                hints=(f"choose from: {', '.join(sorted(found))}",),
            )
    return found
