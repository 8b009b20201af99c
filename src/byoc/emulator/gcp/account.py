"""The emulated project's two service accounts: their keys, tokens, and who a request is from."""

from __future__ import annotations

import json
import os
import secrets
import threading
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions, jwt

from .refusals import Refusal

PROJECT = "byoc-emulated"
EMAIL = f"byoc@{PROJECT}.iam.gserviceaccount.com"
"""Whom byoc acts as."""
OWNER = f"administrator@{PROJECT}.iam.gserviceaccount.com"
"""Who may do everything."""
TOKEN_LIFE = 3600.0
"""Seconds, as of Google's own."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Token(NamedTuple):
    """``email``: whom it speaks for. ``until``: when it ends, seconds since the epoch."""

    email: str
    until: float


class Account:
    """Verifies what it has signed or issued. ``folder``: private; the key file is kept there."""

    def __init__(self, folder: Path) -> None:
        self._keys = {email: _Key() for email in (OWNER, EMAIL)}
        self._folder = folder
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()

    def write(self, base: str, email: str) -> Path:
        """The key file, as ``gcloud iam service-accounts keys create`` writes one."""
        path = self._folder / f"{email.partition('@')[0]}.json"
        document = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": secrets.token_hex(20),
            "private_key": self._keys[email].private,
            "client_email": email,
            "client_id": f"10000000000000000000{1 + list(self._keys).index(email)}",
            "auth_uri": f"{base}/o/oauth2/auth",
            "token_uri": f"{base}/token",
            "universe_domain": "googleapis.com",
        }
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file)
        return path

    def issue(self, email: str, now: float) -> dict[str, Any]:
        """A new access token, as the token endpoint and metadata servers give it."""
        token = f"ya29.{secrets.token_urlsafe(32)}"
        with self._lock:
            self._tokens[token] = Token(email, now + TOKEN_LIFE)
        return {"access_token": token, "expires_in": int(TOKEN_LIFE) - 1, "token_type": "Bearer"}

    def grant(self, form: bytes, now: float) -> dict[str, Any]:
        """What the token endpoint answers to a signed assertion."""
        fields = urllib.parse.parse_qs(form.decode("ascii", "replace"))
        if fields.get("grant_type") != [_GRANT]:
            raise Refusal(400, "unsupported_grant_type", "Invalid grant_type")
        return self.issue(self._signed(fields.get("assertion", [""])[0]), now)

    def who(self, header: str, now: float) -> str:
        """The account that a request is made as. Raises Refusal (401) without a good token."""
        kind, _, token = header.partition(" ")
        if kind != "Bearer" or not token:
            raise Refusal(401, "required", "Request is missing required authentication credential.")
        with self._lock:
            known = self._tokens.get(token)
        if known is None:
            return self._signed(token)
        if known.until < now:
            raise _invalid("it has expired")
        return known.email

    def _signed(self, token: str) -> str:
        """Whom a JWT speaks for that was signed with our key: the SDK sends these as they are."""
        try:
            told = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call]
            key = self._keys.get(str(told.get("iss")))
            if key is None:
                raise _invalid("its issuer is not known")
            jwt.decode(token, certs=key.public)  # type: ignore[no-untyped-call]
        except (ValueError, exceptions.GoogleAuthError) as error:
            raise _invalid(str(error)) from None
        return str(told["iss"])


class _Key:
    """One account's key pair, as PEM."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        self.public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def _invalid(why: str) -> Refusal:
    message = f"Request had invalid authentication credentials: {why}"
    return Refusal(401, "authError", message)
