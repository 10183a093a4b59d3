"""Vigil's own certificate authority, for the broker's TLS listeners and for sources.

Sources may log in by certificate (subject = source). Certificates are X.509 v3 (RFC 5280), and keys
are P-256.

In production the operator's authority can take its place. The broker's own configuration names its
files.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.environment import write_private
from services.contracts.errors import Misconfigured

AUTHORITY_DAYS, SERVER_DAYS, SOURCE_DAYS = 3650, 825, 365
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)


class CertificateAuthority:
    """Certificate authority in `directory`.

    Everybody may read `ca.pem`; only its owner may read `ca-key.pem`.
    """

    def __init__(self, directory: Path) -> None:
        self.certificate_file = directory / "ca.pem"
        self._key_file = directory / "ca-key.pem"

    def make(self) -> None:
        """Make the authority when it is not there."""
        if self.certificate_file.exists() and self._key_file.exists():
            return

        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Vigil authority")
        builder = _builder(name, name, key.public_key(), days=AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(certificates=True), critical=True)
        _write(self._key_file, key)
        self.certificate_file.write_bytes(
            builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def keep_server(self, directory: Path, *, hosts: Sequence[str]) -> bool:
        """Issue the server's certificate when it is needed, and return whether it was issued.

        The present certificate is kept when it names these hosts and has more than a month left.
        """
        try:
            held = x509.load_pem_x509_certificate((directory / "server.pem").read_bytes())
            names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            held.verify_directly_issued_by(self._load()[0])
        except (OSError, ValueError, x509.ExtensionNotFound, InvalidSignature):
            pass
        else:
            left = held.not_valid_after_utc - datetime.now(UTC)
            if left > RENEW_BEFORE and {str(name.value) for name in names} >= set(hosts):
                return False

        self.issue_server(directory, hosts=hosts)
        return True

    def issue_server(self, directory: Path, *, hosts: Sequence[str]) -> None:
        """Write `server.pem` and `server-key.pem` for these names and addresses."""
        names = [
            x509.IPAddress(ipaddress.ip_address(h)) if _is_address(h) else x509.DNSName(h) for h in hosts
        ]
        alternative = x509.SubjectAlternativeName(names)
        self._issue(directory / "server", hosts[0], alternative, ExtendedKeyUsageOID.SERVER_AUTH, SERVER_DAYS)

    def issue_source(self, directory: Path, source_id: str) -> tuple[Path, Path]:
        """Issue (certificate, key) files of a source; its id is the subject's common name."""
        return self._issue(
            directory / source_id, source_id, None, ExtendedKeyUsageOID.CLIENT_AUTH, SOURCE_DAYS
        )

    def _issue(
        self,
        stem: Path,
        common_name: str,
        alternative: x509.SubjectAlternativeName | None,
        purpose: x509.ObjectIdentifier,
        days: int,
    ) -> tuple[Path, Path]:
        authority, signer = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), authority.subject, key.public_key(), days=days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)

        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)

        certificate_file, key_file = (
            stem.with_name(f"{stem.name}.pem"),
            stem.with_name(f"{stem.name}-key.pem"),
        )
        stem.parent.mkdir(parents=True, exist_ok=True)
        _write(key_file, key)
        certificate = builder.sign(signer, hashes.SHA256())
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

        return certificate_file, key_file

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise Misconfigured(
                f"no certificate authority in {self.certificate_file.parent}: {error}; `vigil up` makes one, "
                "or set VIGIL_CA_DIRECTORY to a directory with ca.pem and ca-key.pem"
            ) from error

        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Misconfigured(f"{self._key_file} holds no elliptic-curve key")

        return certificate, key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem.decode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
