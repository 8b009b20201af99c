"""Instance principals: a certificate for each machine, and the exchange of it for a session token.

A machine finds its certificate and key in its metadata service, and posts them with a session key
to ``/v1/x509``; requests signed with the session key and named ``ST$token`` are the machine's own.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import secrets
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from .account import KEY_BITS
from .refusals import NOT_AUTHENTICATED, Refusal, not_found
from .signing import Request, verify

TOKEN_LIFE = 1200.0
"""Seconds that a session token is good for."""
CERTIFICATE_LIFE = 7200.0
PATH = "/v1/x509"


class Certificate(NamedTuple):
    """What a machine can prove itself with."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    def pem(self) -> str:
        """The certificate as text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self) -> str:
        """The private key as text."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()


class Principals:
    """All machines' certificates and sessions. ``now``: seconds since the epoch."""

    def __init__(self, tenancy: str, now: Callable[[], float]) -> None:
        self._tenancy = tenancy
        self._now = now
        self._lock = threading.Lock()
        self._certificates: dict[str, Certificate] = {}
        self._sessions: dict[str, tuple[Any, str, float]] = {}

    def certificate(self, instance: str, compartment: str) -> Certificate:
        """The machine's certificate, made when it is first asked for."""
        with self._lock:
            if instance not in self._certificates:
                self._certificates[instance] = self._make(instance, compartment)
            return self._certificates[instance]

    def key_of(self, key_id: str) -> Any:
        """The public key of a session, None when there is none or it has expired."""
        key, _, until = self._sessions.get(key_id, (None, "", 0.0))
        return key if self._now() < until else None

    def instance_of(self, key_id: str) -> str:
        """Whose session it is; empty when it is none."""
        return self._sessions.get(key_id, (None, "", 0.0))[1]

    def exchange(self, request: Request) -> dict[str, str]:
        """The answer to a request for a session token. Raises Refusal."""
        try:
            body = json.loads(request.body)
            shown = x509.load_der_x509_certificate(base64.b64decode(body["certificate"]))
            session = serialization.load_der_public_key(base64.b64decode(body["publicKey"]))
        except (ValueError, KeyError, binascii.Error):
            raise Refusal(400, "InvalidParameter", "certificate and publicKey are needed") from None
        instance = _instance(shown)
        known = self._certificates.get(instance)
        if known is None or known.certificate != shown:
            raise Refusal(401, "NotAuthenticated", NOT_AUTHENTICATED)
        # The protocol names certificates by SHA-1, or by SHA-256 when the key id says so.
        ways = {"fed-x509": hashes.SHA1(), "fed-x509-sha256": hashes.SHA256()}  # noqa: S303
        keys = {
            f"{self._tenancy}/{way}/{_digest(shown, algorithm)}": shown.public_key()
            for way, algorithm in ways.items()
        }
        verify(request, keys.get, self._now(), federation=True)
        token = self._token(instance)
        until = self._now() + TOKEN_LIFE
        with self._lock:
            self._sessions[f"ST${token}"] = (session, instance, until)
        return {"token": token}

    def _token(self, instance: str) -> str:
        now = int(self._now())
        until = now + int(TOKEN_LIFE)
        claims = {"sub": instance, "opc-tenant": self._tenancy, "iat": now, "exp": until}
        return f"{_part({'alg': 'RS256'})}.{_part(claims)}.{secrets.token_urlsafe(16)}"

    def _make(self, instance: str, compartment: str) -> Certificate:
        key = rsa.generate_private_key(65537, KEY_BITS)
        units = (
            "opc-certtype:instance",
            f"opc-instance:{instance}",
            f"opc-compartment:{compartment}",
            f"opc-tenant:{self._tenancy}",
        )
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, instance[:60]),
                *(
                    x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit, _validate=False)
                    for unit in units
                ),
            ]
        )
        since = dt.datetime.fromtimestamp(self._now() - 60, dt.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + dt.timedelta(seconds=CERTIFICATE_LIFE))
        )
        return Certificate(builder.sign(key, hashes.SHA256()), key)


def _digest(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    return ":".join(f"{byte:02X}" for byte in certificate.fingerprint(algorithm))


def _instance(certificate: x509.Certificate) -> str:
    for attribute in certificate.subject:
        text = str(attribute.value)
        if text.startswith("opc-instance:"):
            return text.removeprefix("opc-instance:")
    raise not_found("instance principal")


def _part(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")
