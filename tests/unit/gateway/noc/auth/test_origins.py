"""Tests that the console's own origin follows from its address, and that only TLS makes it known."""

import pytest

from gateway.noc.auth.origins import allowed_origins, origin_of
from services.platform import config


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://noc.example.com", "https://noc.example.com"),
        ("https://NOC.Example.com/", "https://noc.example.com"),
        ("https://noc.example.com:443/a/b?c#d", "https://noc.example.com"),
        ("https://noc.example.com:8443", "https://noc.example.com:8443"),
        ("https://user:word@noc.example.com", "https://noc.example.com"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("", None),
        ("noc.example.com", None),
        ("ftp://noc.example.com", None),
        ("https://", None),
        ("https://noc.example.com:port", None),
        ("https://[::1", None),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("url", "listed", "allowed"),
    [
        ("https://noc.example.com/", "", ["https://noc.example.com"]),
        (
            "https://noc.example.com",
            " https://a.example , ",
            ["https://a.example", "https://noc.example.com"],
        ),
        ("http://noc.example.com", "", []),
        ("", "https://a.example", ["https://a.example"]),
    ],
)
def test_the_consoles_own_origin_is_allowed_when_it_is_https(
    url: str, listed: str, allowed: list[str]
) -> None:
    settings = config.load(environ={"VIGIL_PUBLIC_URL": url, "VIGIL_ALLOWED_ORIGINS": listed})
    assert allowed_origins(settings) == allowed
