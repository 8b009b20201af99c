"""The table of providers."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("first", ["import byoc.providers", ""])
def test_what_an_sdk_does_without_is_not_told(first: str) -> None:
    """SDKs that are loaded side by side undo each other's silence; byoc's own, which stands before
    them, holds: no command warns of a library that only SOCKS proxies need."""
    pytest.importorskip("urllib3")
    line = 'import warnings, urllib3; warnings.warn("SOCKS support in urllib3 requires", Warning)'
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{line}"], capture_output=True, text=True, check=True
    )
    assert ("SOCKS" in done.stderr) is (not first)
