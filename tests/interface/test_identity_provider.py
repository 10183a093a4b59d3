"""Tests of an identity provider's keys, from a real HTTP server.

They are rotated, unavailable, and requested no more often than necessary.
"""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gateway.noc.auth.tokens import ProviderKeys, Tokens
from services.contracts.errors import NotAuthenticated, Unavailable

ISSUER = "https://id.example"


class Provider:
    """A server whose keys a test can change."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps({"keys": provider.keys}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add_rsa(self, kid: str) -> Any:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys.append({**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"})
        return key


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.server.shutdown()


def token(key: Any, kid: str, algorithm: str = "RS256", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "vigil-noc", "sub": "ann", "jti": "1", "tenant": 1, "role": "operator"}
    return jwt.encode(
        {"iat": now, "exp": now + 60, **claims, **changes}, key, algorithm=algorithm, headers={"kid": kid}
    )


def test_a_provider_s_people_are_known_and_its_new_keys_are_learned(provider: Provider) -> None:
    first = provider.add_rsa("k1")
    tokens = Tokens("", provider=ProviderKeys(provider.url), issuer=ISSUER)
    for _ in range(5):
        assert tokens.check(token(first, "k1")).login == "ann"
    assert provider.asked == 1

    curve = ec.generate_private_key(ec.SECP256R1())
    provider.keys.append({**ECAlgorithm.to_jwk(curve.public_key(), as_dict=True), "kid": "k2", "use": "sig"})
    patient = Tokens("", provider=ProviderKeys(provider.url), issuer=ISSUER)
    assert patient.check(token(curve, "k2", "ES256")).login == "ann"


def test_made_up_keys_are_refused_and_do_not_make_us_ask_each_time(provider: Provider) -> None:
    provider.add_rsa("k1")
    tokens = Tokens("", provider=ProviderKeys(provider.url), issuer=ISSUER)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for number in range(20):
        with pytest.raises(NotAuthenticated):
            tokens.check(token(stranger, f"made-up-{number}"))
    with pytest.raises(NotAuthenticated):
        tokens.check(token(stranger, "k1"))
    assert provider.asked <= 2


def test_a_secret_among_the_provider_s_keys_signs_nothing(provider: Provider) -> None:
    provider.keys.append(
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "kid": "s", "use": "sig"}
    )
    tokens = Tokens("", provider=ProviderKeys(provider.url), issuer=ISSUER)
    with pytest.raises(NotAuthenticated):
        tokens.check(token(b"secret-secret-secret-secret", "s", "HS256"))


def test_a_provider_that_is_away_is_unavailable_and_not_the_caller_s_fault(provider: Provider) -> None:
    key = provider.add_rsa("k1")
    provider.server.shutdown()
    provider.server.server_close()
    tokens = Tokens("", provider=ProviderKeys(provider.url), issuer=ISSUER)
    with pytest.raises(Unavailable, match="identity provider"):
        tokens.check(token(key, "k1"))
