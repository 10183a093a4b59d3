"""Tests of the tokens that are trusted.

They are our own and an identity provider's. Attackers' versions of both are refused.
"""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.noc.auth import tokens as auth
from gateway.noc.auth.tokens import BarredTokens, Principal, Tokens
from services.contracts.errors import Forbidden, Misconfigured, NotAuthenticated, Refused

SECRET = "s3cret-" * 6
GOOD = {"iss": "vigil", "aud": "vigil-noc", "sub": "ann", "jti": "1", "tenant": 1, "role": "operator"}
PROVIDER = {**GOOD, "iss": "https://id.example", "aud": "noc-app"}
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class OneKey:
    def of(self, token: str) -> Any:  # noqa: ARG002
        return KEY.public_key()


def signed(
    secret: Any = SECRET, algorithm: str = "HS256", base: dict[str, Any] = GOOD, **changes: object
) -> str:
    now = int(time.time())
    claims = {"iat": now, "exp": now + 60, **base, **changes}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm=algorithm)


def raw(header: dict[str, Any], body: dict[str, Any], key: bytes) -> str:
    """Return a token made by hand, which the library refuses to make."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)]
    signature = hmac.new(key, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def with_provider(secret: str = SECRET) -> Tokens:
    return Tokens(secret, provider=OneKey(), issuer=PROVIDER["iss"], audience=PROVIDER["aud"])


def test_a_token_that_was_made_here_is_believed() -> None:
    tokens = Tokens(SECRET)
    token = tokens.make(name="Ann B", login="ann", tenant_id=7, role="viewer", lifetime_s=60, session_id="s1")
    principal = tokens.check(token)
    assert (principal.login, principal.name, principal.tenant_id) == ("ann", "Ann B", 7)
    assert (principal.role, principal.session_id) == ("viewer", "s1")


@pytest.mark.parametrize("tokens", [Tokens(SECRET), with_provider()], ids=["own", "with provider"])
@pytest.mark.parametrize("claim", auth.CLAIMS)
def test_a_token_without_a_claim_is_refused(claim: str, tokens: Tokens) -> None:
    for token in (signed(**{claim: None}), signed(KEY, "RS256", PROVIDER, **{claim: None})):
        with pytest.raises(NotAuthenticated):
            tokens.check(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"iss": "other"},
        {"exp": 1},
        {"exp": "soon"},
        {"iat": time.time() + 3600},
        {"nbf": time.time() + 3600},
        {"role": "king"},
        {"role": ["admin"]},
        {"tenant": "1"},
        {"tenant": 1.5},
        {"tenant": [1, 2]},
        {"sub": 5},
        {"sid": 5},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, object]) -> None:
    def attempt(key: Any, algorithm: str, base: dict[str, Any]) -> None:
        try:
            token = signed(key, algorithm, base, **changes)
        except TypeError:  # the library does not even make it
            return
        with pytest.raises(NotAuthenticated):
            with_provider().check(token)

    attempt(SECRET, "HS256", GOOD)
    attempt(KEY, "RS256", PROVIDER)


def test_no_other_algorithm_and_no_other_secret_is_believed() -> None:
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    body = signed().split(".")[1]
    for token in (
        f"{none}.{body}.",
        f"{none}.{body}.x",
        signed(secret="x" * 40),
        signed(algorithm="HS512"),
        signed(KEY, "RS256"),
        "garbage",
        "",
        "a.b.c",
        "é.é.é",
    ):
        with pytest.raises(NotAuthenticated):
            Tokens(SECRET).check(token)


def test_a_provider_s_token_is_believed_and_its_public_key_is_no_secret() -> None:
    assert with_provider().check(signed(KEY, "RS256", PROVIDER)).tenant_id == 1
    assert with_provider(secret="").check(signed(KEY, "RS256", PROVIDER)).login == "ann"
    now = int(time.time())
    body = {**PROVIDER, "iat": now, "exp": now + 60}
    for secret in (SECRET, ""):
        for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": "k1"}, {"alg": "RS256"}):
            with pytest.raises(NotAuthenticated):
                with_provider(secret).check(raw(header, body, PUBLIC_PEM))


def test_our_own_issuer_and_the_provider_s_are_not_mixed() -> None:
    for token in (signed(KEY, "RS256", GOOD), signed(base=PROVIDER)):
        with pytest.raises(NotAuthenticated):
            with_provider().check(token)


def test_a_huge_token_is_refused_before_it_is_read() -> None:
    with pytest.raises(NotAuthenticated, match="characters"):
        Tokens(SECRET).check(signed(name="x" * 5000))


def test_a_token_of_another_tenant_says_so_and_sees_nothing_of_ours() -> None:
    principal = Tokens(SECRET).check(signed(tenant=2))
    assert principal.tenant_id == 2
    with pytest.raises(Forbidden):
        principal.must_see(1)
    Tokens(SECRET).check(signed(tenant=2, role="platform")).must_see(1)


def test_a_weak_secret_stops_the_start_and_names_the_variable() -> None:
    with pytest.raises(Misconfigured, match="JWT_SECRET"):
        Tokens("short")
    with pytest.raises(Misconfigured, match="JWT_ISSUER"):
        Tokens("", provider=OneKey())
    with pytest.raises(Forbidden, match="identity provider"):
        with_provider(secret="").make(name="ann", tenant_id=1, role="viewer", lifetime_s=60)


def test_a_viewer_may_not_act() -> None:
    with pytest.raises(Forbidden):
        Principal("v", "v", 1, "viewer", 0, 0.0).must_handle_alerts()


def test_tokens_are_void_before_a_change_and_good_after_it() -> None:
    bars = BarredTokens()
    bars.update(users={"ann": 100.0, "dan": None}, sessions=["s1"])
    bars.check(Principal("ann", "Ann", 1, "viewer", 0, 100.5))
    bars.check(Principal("bob", "Bob", 1, "viewer", 0, 1.0, "s2"))
    for principal in (
        Principal("ann", "Ann", 1, "viewer", 0, 99.5),
        Principal("dan", "Dan", 1, "viewer", 0, 1e12),
        Principal("bob", "Bob", 1, "viewer", 0, 1.0, "s1"),
    ):
        with pytest.raises(NotAuthenticated):
            bars.check(principal)


def test_a_barred_subject_is_refused_with_its_issuer_in_its_tenant_only() -> None:
    bars = BarredTokens()
    provider = str(PROVIDER["iss"])
    bars.update(users={}, sessions=[], subjects=[(1, provider, "ann", None), (1, provider, "dan", 100.0)])
    bars.check(Principal("ann", "Ann", 1, "viewer", 0, 1.0))  # a principal of our own
    bars.check(Principal("ann", "Ann", 2, "viewer", 0, 1.0, issuer=provider))
    bars.check(Principal("ann ", "Ann", 1, "viewer", 0, 1.0, issuer=provider))
    bars.check(Principal("dan", "Dan", 1, "viewer", 0, 100.5, issuer=provider))
    for principal in (
        Principal("ann", "Ann", 1, "platform", 0, 1e12, issuer=provider),
        Principal("dan", "Dan", 1, "viewer", 0, 99.5, issuer=provider),
    ):
        with pytest.raises(NotAuthenticated, match="withdrawn"):
            bars.check(principal)


def test_the_issuer_of_a_token_is_known() -> None:
    tokens = with_provider()
    assert tokens.check(signed()).issuer == "vigil"
    assert tokens.check(signed(KEY, "RS256", PROVIDER)).issuer == PROVIDER["iss"]


@pytest.mark.parametrize("kind", [None, "", "JWE", "jwt+x", "at", 7, ["JWT"], {"a": 1}])
def test_a_token_of_our_own_says_that_it_is_one(kind: object) -> None:
    header = {"alg": "HS256", **({} if kind is None else {"typ": kind})}
    now = int(time.time())
    body = {"exp": now + 60, "iat": now, "iss": "vigil", "aud": "vigil-noc", "sub": "ann", "jti": "1"}
    body |= {"tenant": 1, "role": "viewer"}
    with pytest.raises(NotAuthenticated):
        Tokens(SECRET).check(raw(header, body, SECRET.encode()))
    assert Tokens(SECRET).check(raw({**header, "typ": "jwt"}, body, SECRET.encode())).login == "ann"


@pytest.mark.parametrize("tokens", [Tokens(SECRET), with_provider()], ids=["own", "with provider"])
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) + 86_400 * 2},
        {"exp": 4_102_444_800},
        {"exp": 1e300},
        {"iat": 0},
        {"iat": -1e300},
        {"nbf": time.time() + 3600},
        {"nbf": "later"},
        {"sub": ""},
        {"sub": "  "},
    ],
    ids=str,
)
def test_a_token_without_an_end_a_beginning_or_a_name_is_refused(
    changes: dict[str, Any], tokens: Tokens
) -> None:
    for token in (signed(**changes), signed(KEY, "RS256", PROVIDER, **changes)):
        with pytest.raises(NotAuthenticated):
            tokens.check(token)


def test_an_end_that_is_no_number_of_this_world_is_refused() -> None:
    now = int(time.time())
    claims = {"iat": now, "iss": "vigil", "aud": "vigil-noc", "sub": "ann", "jti": "1", "tenant": 1}
    for end in ("1e999", "-1e999", "NaN", "Infinity"):
        text = json.dumps({**claims, "role": "viewer", "exp": "END"}).replace('"END"', end)
        parts = [
            base64.urlsafe_b64encode(part.encode()).rstrip(b"=")
            for part in ('{"alg":"HS256","typ":"JWT"}', text)
        ]
        signature = hmac.new(SECRET.encode(), b".".join(parts), hashlib.sha256).digest()
        token = b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
        with pytest.raises(NotAuthenticated):
            Tokens(SECRET).check(token)


def test_no_token_is_made_that_would_be_refused() -> None:
    tokens = Tokens(SECRET, max_age_s=3600)
    with pytest.raises(Refused, match="3600"):
        tokens.make(name="ann", tenant_id=1, role="viewer", lifetime_s=3601)
    token = tokens.make(name="ann", tenant_id=1, role="viewer", lifetime_s=3600)
    assert tokens.check(token).login == "ann"
