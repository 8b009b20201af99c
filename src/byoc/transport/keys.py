"""The client's SSH identity and the host keys it makes for its instances.

Importing this module is cheap: paramiko and cryptography (100 ms together) are imported by the
functions that need them. :func:`ensure_identity` needs neither once the key file exists.
"""

from __future__ import annotations

import base64
import binascii
import functools
import os
import stat
import struct
from pathlib import Path
from typing import Any, NamedTuple

from ..clock import IDS
from ..errors import StateError
from ..providers.base import HostKey
from . import library

KEY_TYPE = "ssh-ed25519"
_MAGIC = b"openssh-key-v1\0"
_BEGIN, _END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
_RAW_PUBLIC = 32  # bytes of a raw ed25519 public key (RFC 8032)


class Identity(NamedTuple):
    """The client's own key pair. ``path``: the private key file; ``public``: one OpenSSH line."""

    path: Path
    public: str

    def key(self) -> Any:
        """The parsed :class:`paramiko.Ed25519Key`, read once per process.

        Raises StateError when the file is gone or broken.
        """
        return _parsed(str(self.path), self.public)


def ensure_identity(home: Path) -> Identity:
    """The identity in ``<home>/keys/id_ed25519``, made on first use.

    The folder is 0700, the file 0600 and in OpenSSH format, so that ``ssh -i`` takes it too. Two
    processes that start at once end with the same key. Raises StateError when the file cannot be
    made or is not an ed25519 key.
    """
    path = home / "keys" / "id_ed25519"
    try:
        if not path.exists():
            _create(path)
        _tighten(path)
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(
            f"the SSH key {path} cannot be used: {error}",
            hints=(f"make {path.parent} writable, or set BYOC_HOME to another folder",),
        ) from error
    return Identity(path, _public_line(text, path))


def new_host_key() -> HostKey:
    """A fresh ed25519 host key for one instance, ~0.1 ms once cryptography is loaded."""
    return HostKey(*_generate())


def public_blob(line: str) -> bytes:
    """The binary key of a public key line ``ssh-ed25519 AAAA... [comment]``.

    Raises ValueError when the line is not an ed25519 public key.
    """
    words = line.split()
    if len(words) < 2 or words[0] != KEY_TYPE:
        raise ValueError(f"not an {KEY_TYPE} public key line")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise ValueError(f"not an {KEY_TYPE} public key line") from error
    prefix = _string(KEY_TYPE.encode())
    if len(blob) != len(prefix) + 4 + _RAW_PUBLIC or not blob.startswith(prefix):
        raise ValueError(f"not an {KEY_TYPE} public key line")
    return blob


def _create(path: Path) -> None:
    """Write a new key so that whoever comes second keeps the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    private, _ = _generate()
    draft = path.with_name("." + IDS.new("draft"))
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(private)
            file.flush()
            os.fsync(file.fileno())
        # link, unlike rename, refuses to replace: the loser of a race takes the winner's key
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        draft.unlink()


def _tighten(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def _generate() -> tuple[str, str]:
    """(private OpenSSH text, public line)."""
    # imported here: 40 ms that only a first use or a launch should pay
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption()
    ).decode("ascii")
    public = key.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH)
    return private, public.decode("ascii")


def _public_line(text: str, path: Path) -> str:
    """The public line out of a private key file (PROTOCOL.key: the public half is not encrypted).

    Read by hand because loading cryptography for it would cost more than the rest of a start.
    """
    try:
        body = text.split(_BEGIN, 1)[1].split(_END, 1)[0]
        data = base64.b64decode(body)
        if not data.startswith(_MAGIC):
            raise ValueError("no key header")
        at = len(_MAGIC)
        for _ in range(3):  # cipher, kdf, kdf options
            at += 4 + _length(data, at)
        at += 4  # number of keys
        blob = data[at + 4 : at + 4 + _length(data, at)]
        line = f"{KEY_TYPE} {base64.b64encode(blob).decode()}"
        public_blob(line)
    except (IndexError, ValueError, struct.error) as error:
        raise StateError(
            f"{path} is not an ed25519 key in OpenSSH format",
            hints=(f"move {path} away; a new key is made on the next start",),
        ) from error
    return line


def _length(data: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">I", data, at)
    return int(length)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@functools.cache
def _parsed(path: str, public: str) -> Any:
    paramiko = library.load()

    try:
        key = paramiko.Ed25519Key.from_private_key_file(path)
    except (OSError, paramiko.SSHException) as error:
        raise StateError(
            f"the SSH key {path} cannot be read: {error}",
            hints=(f"move {path} away; a new key is made on the next start",),
        ) from error
    if key.asbytes() != public_blob(public):
        raise StateError(f"the SSH key {path} changed while it was in use")
    return key
