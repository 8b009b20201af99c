"""Starting emulated accounts, and the environment in which programs find them and no real one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import _lazy
from ..errors import NotFoundError
from .ports import Facade
from .world import EmulatedWorld

FACADES = {
    "aws": "byoc.emulator.aws.facade:AwsFacade",
    "gcp": "byoc.emulator.gcp.facade:GcpFacade",
    "oci": "byoc.emulator.oci.facade:OciFacade",
}
"""Each account's façade, loaded when asked for: what it is made of takes seconds to import."""
REAL = ("AWS_", "GOOGLE_", "GCLOUD_", "GCE_", "CLOUDSDK_", "OCI_", "BOTO_", "EC2_")
"""Beginnings of variables with which programs find real accounts."""
_OPTIONS = tuple(f"BYOC_{cloud.upper()}_" for cloud in FACADES)


NOWHERE = {
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "CLOUDSDK_CONFIG": os.devnull,
    "NO_GCE_CHECK": "true",
    "OCI_CONFIG_FILE": os.devnull,
    "OCI_CLI_CONFIG_FILE": os.devnull,
}
"""Variables by which programs find no real account in the user's files either: a command that asks
every cloud (``byoc reap``) must not meet one while it is rehearsed."""


def start(world: EmulatedWorld, clouds: Sequence[str], folder: Path) -> dict[str, str]:
    """Start accounts side by side and add them to the world; what their programs need to be told.

    ``folder``: private; each account keeps its key files below it.
    """

    def one(cloud: str) -> Facade:
        own = folder / cloud
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            facade: Facade = _lazy.load(FACADES[cloud])(world, own)
            facade.start()
        except ImportError as error:
            raise _incomplete(cloud, error) from error
        world.add(facade)
        return facade

    environ: dict[str, str] = {}
    with ThreadPoolExecutor(len(FACADES)) as pool:
        for facade in pool.map(one, clouds):
            environ.update(facade.environment())
    return environ


def _incomplete(cloud: str, error: ImportError) -> NotFoundError:
    return NotFoundError(
        f"the emulated {cloud} needs a package that is not installed: {error.name or error}",
        hints=("Run: pip install 'byoc-cloud[emulator]'",),
    )


def stop(world: EmulatedWorld) -> None:
    """End the accounts, then everything that they have rented out."""
    for facade in world.facades():
        facade.stop()
    world.end()


@contextlib.contextmanager
def real_ones_hidden() -> Iterator[None]:
    """While this lasts, no real account is named in this process's own environment: what emulated
    ones are made of looks there, and fails for a profile that it does not find."""
    clean = scrubbed(os.environ)
    hidden = {name: value for name, value in os.environ.items() if name not in clean}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what names real accounts and without byoc's options for them."""
    return {
        name: value for name, value in environ.items() if not name.startswith((*REAL, *_OPTIONS))
    }
