"""The certificate of the HTTP edge: one PEM file with certificate, chain and key, for HAProxy.

The operator brings a certificate of a public authority. Until then the installation's own authority
issues it, as for the broker.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from ops.environment import write_private
from ops.servers.certificates import RENEW_BEFORE, CertificateAuthority
from services.contracts.errors import Misconfigured

OWN_ISSUER = "CN=Vigil authority"


class KeepOutcome(Enum):
    """The outcome of `keep`."""

    MADE = "made"
    GOOD = "is still good"
    BROUGHT = "is the operator's own and stays"


def keep(file: Path, *, authority: Path, host: str) -> KeepOutcome:
    """Issue the certificate when it is needed.

    A certificate for this name with more than a month left stays. A certificate that the operator
    brought stays too.

    Raises:
        Misconfigured: the file is there, and holds no certificate with its key.
    """
    if file.exists():
        held = load(file)
        is_issued = _is_issued_by(held, authority)
        if is_issued and host in names_of(held) and _left(held) > RENEW_BEFORE:
            return KeepOutcome.GOOD
        # Vigil's own authority may have been made again since. Its older certificates are not the
        # operator's.
        if not is_issued and held.issuer.rfc4514_string() != OWN_ISSUER:
            return KeepOutcome.BROUGHT

    issuer = CertificateAuthority(authority)
    authority.mkdir(parents=True, exist_ok=True)
    issuer.make()

    with tempfile.TemporaryDirectory() as directory:
        issuer.issue_server(Path(directory), hosts=[host])
        parts = (
            Path(directory, "server.pem"),
            issuer.certificate_file,
            Path(directory, "server-key.pem"),
        )
        content = "".join(part.read_text() for part in parts)

    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, content)
    return KeepOutcome.MADE


def load(file: Path) -> x509.Certificate:
    """Return the first certificate of the file.

    Raises:
        Misconfigured: the file cannot be read, or does not hold the key of the certificate.
    """
    try:
        content = file.read_bytes()
        certificate = x509.load_pem_x509_certificate(content)
        key = serialization.load_pem_private_key(_key_of(content), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(
            f"{file} must be a PEM file with certificate, chain and key, readable, without a password: {error}"
        ) from error

    if _public(key.public_key()) != _public(certificate.public_key()):
        raise Misconfigured(f"{file} holds a key that is not that of its first certificate")

    return certificate


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that the certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def problems(file: Path, *, public_url: str) -> Iterator[str]:
    """Yield what browsers and phones would not accept, one sentence each, with the remedy."""
    try:
        held = load(file)
    except Misconfigured as error:
        yield f"VIGIL_EDGE_CERTIFICATE: {error}"
        return

    host = urlsplit(public_url).hostname
    names = names_of(held)
    if host and not any(_matches(name.lower(), host) for name in names):
        yield f"VIGIL_EDGE_CERTIFICATE is for {', '.join(names) or 'no name'}, and VIGIL_PUBLIC_URL is at {host}"
    if held.not_valid_after_utc <= datetime.now(UTC):
        yield f"VIGIL_EDGE_CERTIFICATE ran out on {held.not_valid_after_utc:%Y-%m-%d}; renew it"

    if held.issuer.rfc4514_string() == OWN_ISSUER:
        yield (
            "VIGIL_EDGE_CERTIFICATE is of the installation's own authority: phones and browsers warn of it;"
            f" put one of a public authority, with chain and key, into {file}"
        )


def _matches(name: str, host: str) -> bool:
    """Return whether a name of a certificate covers the host.

    `*` stands for one label (RFC 6125).
    """
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:]
    return name == host


def _key_of(content: bytes) -> bytes:
    start = content.find(b"-----BEGIN ")
    while start >= 0:
        if b"PRIVATE KEY-----" in content[start : start + 40]:
            return content[start:]
        start = content.find(b"-----BEGIN ", start + 1)
    raise ValueError("there is no private key in it")


def _left(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - datetime.now(UTC)


def _is_issued_by(certificate: x509.Certificate, authority: Path) -> bool:
    try:
        issuer = x509.load_pem_x509_certificate(CertificateAuthority(authority).certificate_file.read_bytes())
        certificate.verify_directly_issued_by(issuer)
    except (OSError, ValueError, InvalidSignature):
        return False
    return True


def _public(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
