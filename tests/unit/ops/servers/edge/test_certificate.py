"""Tests of the certificate of the HTTP edge.

It is made when there is none, renewed when it is ours, and left alone when it is not.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ops.servers import certificates
from ops.servers.edge.certificate import KeepOutcome, keep, load, names_of, problems
from services.contracts.errors import Misconfigured

HOST = "noc.example.com"
URL = f"https://{HOST}/"


def brought(file: Path, *names: str, days: int = 90) -> None:
    """Write a certificate of another authority.

    It has an RSA key in PKCS #1, as many tools write it, with the key before the certificate.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Public authority")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0] if names else "none")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + pem)


def test_one_is_made_kept_and_made_new_for_another_name(tmp_path: Path) -> None:
    file, authority = tmp_path / "edge" / "certificate.pem", tmp_path / "authority"
    assert keep(file, authority=authority, host=HOST) is KeepOutcome.MADE
    first = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert first.count(b"BEGIN CERTIFICATE") == 2  # the authority's certificate is the chain
    assert keep(file, authority=authority, host=HOST) is KeepOutcome.GOOD
    assert file.read_bytes() == first
    assert keep(file, authority=authority, host="other.example.com") is KeepOutcome.MADE
    assert names_of(load(file)) == ["other.example.com"]


def test_one_near_its_end_and_one_of_a_former_authority_are_made_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, authority = tmp_path / "certificate.pem", tmp_path / "authority"
    with monkeypatch.context() as soon:
        soon.setattr(certificates, "SERVER_DAYS", 20)
        keep(file, authority=authority, host=HOST)
    assert keep(file, authority=authority, host=HOST) is KeepOutcome.MADE
    assert keep(file, authority=tmp_path / "another", host=HOST) is KeepOutcome.MADE


def test_one_that_the_operator_brought_stays_whatever_it_is_for(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    brought(file, "elsewhere.example.com", days=1)
    before = file.read_bytes()
    assert keep(file, authority=tmp_path / "authority", host=HOST) is KeepOutcome.BROUGHT
    assert file.read_bytes() == before
    assert not (tmp_path / "authority").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_certificate_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "certificate.pem"
    file.write_bytes(content)
    with pytest.raises(Misconfigured, match="certificate, chain and key"):
        keep(file, authority=tmp_path, host=HOST)
    assert file.read_bytes() == content


def test_a_key_of_another_certificate_or_none_is_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    brought(one, HOST)
    brought(two, HOST)
    key, certificate = one.read_bytes().split(b"-----BEGIN CERTIFICATE")
    other = two.read_bytes().split(b"-----BEGIN CERTIFICATE")[0]
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(other + b"-----BEGIN CERTIFICATE" + certificate)
    assert "not that of its first certificate" in next(problems(mixed, public_url=URL))
    mixed.write_bytes(b"-----BEGIN CERTIFICATE" + certificate)
    assert "no private key" in next(problems(mixed, public_url=URL))
    assert "No such file" in next(problems(tmp_path / "nothing.pem", public_url=URL))
    assert key


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        ((HOST,), 90, []),
        (("other.example.com", HOST.upper()), 90, []),
        (("*.example.com",), 90, []),
        (("*.noc.example.com",), 90, ["is for *.noc.example.com"]),
        (("example.com",), 90, ["is for example.com"]),
        ((), 90, ["is for no name"]),
        ((HOST,), -1, ["ran out"]),
        (("other.example.com",), -1, ["is for other", "ran out"]),
    ],
)
def test_what_browsers_would_not_take_is_named(
    tmp_path: Path, names: tuple[str, ...], days: int, words: list[str]
) -> None:
    file = tmp_path / "certificate.pem"
    brought(file, *names, days=days)
    found = list(problems(file, public_url=URL))
    assert len(found) == len(words)
    assert all(word in problem for word, problem in zip(words, found, strict=True))


def test_one_of_our_own_authority_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    keep(file, authority=tmp_path, host=HOST)
    [found] = problems(file, public_url=URL)
    assert "own authority" in found
