"""The emulated tenancy's user: its key, its configuration file, its variables."""

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


class Account:
    """One tenancy with one user, who may do everything. ``folder`` holds the private key."""

    def __init__(self, folder: Path, now: float) -> None:
        self.tenancy = f"ocid1.tenancy.oc1..{secrets.token_hex(30)}"
        self.user = f"ocid1.user.oc1..{secrets.token_hex(30)}"
        self.since = stamp(now)
        self._folder = folder
        key = rsa.generate_private_key(65537, KEY_BITS)
        self._public = key.public_key()
        self._pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        self.fingerprint = fingerprint(self._public)

    @property
    def key_id(self) -> str:
        """What the user's requests are signed as."""
        return f"{self.tenancy}/{self.user}/{self.fingerprint}"

    def key_of(self, key_id: str) -> Any:
        """The public key of a key id, None for an unknown one."""
        return self._public if key_id == self.key_id else None

    def write(self) -> Path:
        """Write key and configuration for the user alone; the path of the configuration."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, config = self._folder / "oci.pem", self._folder / "oci.cfg"
        _write(key, self._pem)
        lines = [
            "[DEFAULT]",
            f"user={self.user}",
            f"fingerprint={self.fingerprint}",
            f"key_file={key}",
            f"tenancy={self.tenancy}",
            f"region={HOME}",
            "",
        ]
        _write(config, "\n".join(lines).encode())
        return config


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
