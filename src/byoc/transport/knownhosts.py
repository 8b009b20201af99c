"""Looking a host's key up in OpenSSH's ``known_hosts``. Only read; nothing is ever added.

Understood: plain names, lists, ``*``, ``?`` and ``!``, ``[host]:port``, hashed names, ``@revoked``.
Certificates (``@cert-authority``) are not.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from fnmatch import fnmatchcase

from .keys import KEY_TYPE, public_blob

SSH_PORT = 22


def find(lines: Iterable[str], host: str, port: int = SSH_PORT) -> list[str]:
    """The ed25519 keys of a host, each as one ``ssh-ed25519 AAAA...`` line, without doubles."""
    name = host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"
    found: dict[bytes, str] = {}
    revoked: set[bytes] = set()
    for line in lines:
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or words[1] != KEY_TYPE:
            continue
        try:
            blob = public_blob(f"{words[1]} {words[2]}")
        except ValueError:
            continue  # OpenSSH leaves out a line that it cannot read, too
        if marker == "@revoked":
            revoked.add(blob)
        elif not marker and _names(words[0], name):
            found[blob] = f"{words[1]} {words[2]}"
    return [text for blob, text in found.items() if blob not in revoked]


def _names(pattern: str, name: str) -> bool:
    """Whether the first field of a line is about ``name``."""
    if pattern.startswith("|"):
        return _hashed(pattern, name)
    named = False
    for one in pattern.lower().split(","):
        if fnmatchcase(name, _glob(one.removeprefix("!"))):
            if one.startswith("!"):
                return False
            named = True
    return named


def _glob(pattern: str) -> str:
    """OpenSSH's pattern for :mod:`fnmatch`, to which a bracket means something."""
    return pattern.replace("[", "[[]")


def _hashed(pattern: str, name: str) -> bool:
    """``|1|salt|hash``: HMAC-SHA1 of the name."""
    parts = pattern.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
