"""Which clouds this computer has credentials for, by signs that cost no request.

For who asks every cloud (``byoc audit``): an account that was never set up is no failure, and its
SDK would look for credentials at an address of the network for seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple


class _Signs(NamedTuple):
    """``variables``: any of them, not empty. ``files``: any of them; the first part may be a
    variable that names the file or folder in place of the default behind it."""

    variables: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


_SIGNS: Mapping[str, _Signs] = {
    "aws": _Signs(
        (
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
        (
            ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
            ("AWS_CONFIG_FILE", "~/.aws/config"),
        ),
    ),
    "gcp": _Signs(
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        (("CLOUDSDK_CONFIG", "~/.config/gcloud"),),
    ),
    "oci": _Signs(
        ("OCI_CLI_AUTH", "OCI_RESOURCE_PRINCIPAL_VERSION"),
        (
            ("OCI_CLI_CONFIG_FILE", "~/.oci/config"),
            ("OCI_CONFIG_FILE", "~/.oci/config"),
        ),
    ),
}
_WITHIN = {"CLOUDSDK_CONFIG": "application_default_credentials.json"}
"""The file in a folder that says so: a folder alone holds gcloud's own log-in only."""

APART = frozenset({"aws", "oci"})
"""Clouds that have an address for each region: one that is out leaves the others."""


def is_set_up(cloud: str, environ: Mapping[str, str]) -> bool:
    """Whether something says that there are credentials for a cloud; True for one without signs.

    A machine whose credentials come from its cloud alone shows none: there the cloud is named in
    the settings.
    """
    signs = _SIGNS.get(cloud)
    if signs is None:
        return True
    if any(environ.get(name) for name in signs.variables):
        return True
    return any(os.path.isfile(_path(name, usual, environ)) for name, usual in signs.files)


def _path(variable: str, usual: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    path = environ.get(variable) or usual.replace("~", home, 1)
    return os.path.join(path, _WITHIN[variable]) if variable in _WITHIN else path
