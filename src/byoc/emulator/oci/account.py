"""The emulated tenancy's two users: their keys, and the configuration file that names both."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .places import HOME
from .store import stamp

KEY_BITS = 2048
OWNER, BYOC = "DEFAULT", "BYOC"
"""Profiles of the configuration: the administrator, and the user that byoc acts as."""


class Account:
    """One tenancy: an administrator, who may do everything, and byoc's own user. ``folder`` holds
    their private keys."""

    def __init__(self, folder: Path, now: float) -> None:
        self.tenancy = f"ocid1.tenancy.oc1..{secrets.token_hex(30)}"
        self.since = stamp(now)
        self._folder = folder
        self._users = {profile: _User(self.tenancy) for profile in (BYOC, OWNER)}

    @property
    def key_id(self) -> str:
        """What the administrator's requests are signed as."""
        return self._users[OWNER].key_id

    @property
    def own_key_id(self) -> str:
        """What byoc's requests are signed as."""
        return self._users[BYOC].key_id

    @property
    def users(self) -> list[str]:
        """Their OCIDs."""
        return [one.id for one in self._users.values()]

    def key_of(self, key_id: str) -> Any:
        """The public key of a key id, None for an unknown one."""
        return next((one.public for one in self._users.values() if one.key_id == key_id), None)

    def write(self) -> Path:
        """Write keys and configuration for this computer's user alone; the path of the latter."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = []
        for profile, user in self._users.items():
            key = self._folder / ("oci.pem" if profile == OWNER else "byoc.pem")
            _write(key, user.pem)
            lines += [
                f"[{profile}]",
                f"user={user.id}",
                f"fingerprint={user.fingerprint}",
                f"key_file={key}",
                f"tenancy={self.tenancy}",
                f"region={HOME}",
                "",
            ]
        config = self._folder / "oci.cfg"
        _write(config, "\n".join(lines).encode())
        return config


class _User:
    """One user with one API key."""

    def __init__(self, tenancy: str) -> None:
        self.id = f"ocid1.user.oc1..{secrets.token_hex(30)}"
        key = rsa.generate_private_key(65537, KEY_BITS)
        self.public = key.public_key()
        self.pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        self.fingerprint = fingerprint(self.public)
        self.key_id = f"{tenancy}/{self.id}/{self.fingerprint}"


def fingerprint(public: Any) -> str:
    """Colon-separated MD5 of the public key, as OCI names API keys."""
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashlib.md5(der, usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
