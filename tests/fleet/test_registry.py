"""The providers of an installation."""

from __future__ import annotations

import warnings
from pathlib import Path

from byoc.fleet.registry import registry
from byoc.settings import Settings
from tests.fleet.world import HandClock


def test_an_sdks_warning_of_proxies_is_not_shown(tmp_path: Path) -> None:
    """What a vendor's library says of proxies that nobody has set stays out of the output."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        registry(Settings(tmp_path), {}, HandClock())
        warnings.warn("SOCKS support in urllib3 requires the installation of PySocks", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    assert [str(one.message) for one in shown] == ["another"]
