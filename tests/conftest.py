"""Fixtures that every room's tests share, and the guards around all of them."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import gone, until

SHORT_TEMP = "/tmp" if Path("/tmp").is_dir() else None
"""A Unix socket's path is limited to about 100 characters, which pytest's own folders exceed."""


REAL_ACCOUNTS: list[str] = []
"""The clouds of ``--cloud`` that are no emulated ones; with any, tests leave this host."""
SETTINGS_OF_THE_USER: dict[str, str] = {}
"""The user's own ``BYOC_`` variables, which only tests with a real account look at."""


def _loopback_only(event: str, args: tuple[Any, ...]) -> None:
    """Refuse every connection of the test process that would leave this host."""
    if event != "socket.connect" or not isinstance(args[1], tuple) or REAL_ACCOUNTS:
        return
    host = str(args[1][0])
    try:
        inside = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        inside = host in ("localhost", "")
    if not inside:
        raise PermissionError(f"a test tried to connect to {host}: tests stay on loopback")


sys.addaudithook(_loopback_only)
NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true"}
"""Keeps the clouds' SDKs, in whatever process of ours, from asking a metadata service that is not
ours for credentials."""
os.environ.update(NO_METADATA)


def _heed_signals() -> None:
    """Undo what a shell does to jobs in the background: programs under test must hear Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


_heed_signals()


def new_home() -> Path:
    """A fresh private folder with a short path, for ``BYOC_HOME``."""
    return Path(tempfile.mkdtemp(prefix="byoc-", dir=SHORT_TEMP)).resolve()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The clouds that the conformance suite runs against; see ``tests/clouds/conftest.py``."""
    parser.addoption(
        "--cloud",
        action="append",
        choices=("local", "emulated", "aws", "gcp", "oci"),
        help="run the conformance suite against this; repeatable (default: local and emulated)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """A run against a real account has to leave this host."""
    words = config.getoption("--cloud", None) or []
    REAL_ACCOUNTS.extend(word for word in words if word not in ("local", "emulated"))


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_user() -> Iterator[None]:
    """No test reads the user's own settings or writes to the user's own data folder."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("BYOC_")}
    SETTINGS_OF_THE_USER.update(saved)
    home = new_home()
    os.environ["BYOC_HOME"] = str(home)
    yield
    del os.environ["BYOC_HOME"]
    os.environ.update(saved)
    shutil.rmtree(home)


@pytest.fixture
def byoc_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A ``BYOC_HOME`` of the test's own.

    Afterwards every instance of that home is ended through its provider, and no process that
    mentions the home may be left.
    """
    home = new_home()
    monkeypatch.setenv("BYOC_HOME", str(home))
    yield home
    end_instances(home)
    gone(str(home))
    shutil.rmtree(home, ignore_errors=True)


def end_instances(home: Path) -> None:
    """End every instance of the local provider under ``home``, and wait until they are gone."""
    if not (home / "local").exists():
        return
    # Imported here so that tests of other rooms do not depend on the provider's.
    from byoc import clock, providers

    local = providers.get("local", home=home, clock=clock.SYSTEM, environ=dict(os.environ))
    for instance in local.list({}):
        local.terminate(instance.id)
    until(lambda: not local.list({}), 10, f"the instances of {home} to be gone")
