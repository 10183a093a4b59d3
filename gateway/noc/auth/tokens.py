"""Tokens of Vigil and of an identity provider, and tokens that are void before they expire."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import jwt
import msgspec

from services.contracts.errors import (
    Forbidden,
    Misconfigured,
    NotAuthenticated,
    Refused,
    Unavailable,
    VigilError,
)
from services.outgoing.rules import DEVELOPMENT, DestinationRule, of_operator
from services.platform.config import Config

ISSUER = "vigil"
AUDIENCE = "vigil-noc"
ALGORITHM = "HS256"
PROVIDER_ALGORITHMS = ["RS256", "ES256"]
"""Algorithms of an identity provider: their public keys cannot be mistaken for a secret."""
CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti", "tenant", "role"]
ROLES = ("viewer", "operator", "supervisor", "admin", "platform")
MIN_SECRET_LENGTH = 32
MAX_TOKEN_LENGTH = 4096
TYPES = frozenset({"jwt", "at+jwt"})
"""Values of the header `typ` (RFC 7519, RFC 9068).

An identity provider may leave it out. Our own tokens always have it.
"""
DEFAULT_MAX_AGE_S = 86_400
CLOCK_SKEW_S = 5
JWKS_AGE_S = 3600
JWKS_PAUSE_S = 10
JWKS_TIMEOUT_S = 5
JWKS_FAILED_PAUSE_S = 1


class Principal(msgspec.Struct, frozen=True):
    """Person or program with a valid token.

    Times are Unix seconds. `session_id` is empty for programs. `issuer` made the token: Vigil
    itself or an identity provider.
    """

    login: str
    name: str
    tenant_id: int
    role: str
    expires_at: int
    issued_at: float
    session_id: str = ""
    issuer: str = ISSUER

    @property
    def may_handle_alerts(self) -> bool:
        return self.role != "viewer"

    def must_handle_alerts(self) -> None:
        """Check the role. Raises `Forbidden` for a viewer."""
        if not self.may_handle_alerts:
            raise Forbidden("a viewer cannot change alerts; ask for the operator role")

    def must_see(self, tenant_id: int) -> None:
        """Check the tenant.

        Raises `Forbidden` for another tenant, unless the role is `platform`.
        """
        if tenant_id != self.tenant_id and self.role != "platform":
            raise Forbidden("your token gives no access to this client_id")


class KeyFinder(Protocol):
    """Public keys of an identity provider."""

    def of(self, token: str) -> Any:
        """Return the key that signed the token. Raises `jwt.InvalidTokenError`, `Unavailable`."""


class Tokens:
    """Makes tokens, and checks its own tokens and those of an identity provider.

    The constructor raises `Misconfigured` for a weak secret. The algorithm of a token decides the
    key, and each algorithm has one kind of key. So a public key is never taken for a secret.
    """

    def __init__(
        self,
        secret: str,
        *,
        provider: KeyFinder | None = None,
        issuer: str = "",
        audience: str = AUDIENCE,
        max_age_s: int = DEFAULT_MAX_AGE_S,
    ) -> None:
        if len(secret) < MIN_SECRET_LENGTH and (secret or provider is None):
            raise Misconfigured(
                f"JWT_SECRET has {len(secret)} characters and needs {MIN_SECRET_LENGTH};"
                " make one with: openssl rand -base64 48"
            )

        if provider is not None and not issuer:
            raise Misconfigured(
                "JWT_ISSUER is not set; with JWT_JWKS_URL it names the issuer of accepted tokens"
            )

        self._secret = secret
        self._provider = provider
        self._issuer = issuer
        self._audience = audience
        self._max_age_s = max_age_s

    @classmethod
    def from_config(cls, config: Config) -> Tokens:
        noc = config.noc
        provider = (
            ProviderKeys(noc.jwt_jwks_url, rule=of_operator(config.environment)) if noc.jwt_jwks_url else None
        )

        return cls(
            noc.jwt_secret,
            provider=provider,
            issuer=noc.jwt_issuer,
            audience=noc.jwt_audience,
            max_age_s=noc.token_max_age_s,
        )

    def make(
        self, *, name: str, tenant_id: int, role: str, lifetime_s: int, login: str = "", session_id: str = ""
    ) -> str:
        """Return a token of our own. Raises `Forbidden`, `Refused`."""
        if lifetime_s > self._max_age_s:
            raise Refused(f"a token is valid for at most {self._max_age_s} s; see noc.token_max_age_s")
        if role not in ROLES:
            raise Forbidden(f"role is {role!r}; it must be one of {', '.join(ROLES)}")
        if not self._secret:
            raise Forbidden("users log in at the identity provider (JWT_JWKS_URL), not here")

        now = time.time()
        claims = {
            "exp": int(now) + lifetime_s,
            "iat": now,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": login or name,
        }

        claims |= {"jti": uuid.uuid4().hex, "tenant": tenant_id, "role": role, "name": name}
        if session_id:
            claims["sid"] = session_id

        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def check(self, token: str) -> Principal:
        """Return the principal of a valid token.

        Raises:
            NotAuthenticated: The token is not valid, for any reason.
            Unavailable: The provider's keys cannot be fetched.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise NotAuthenticated(f"the token has more than {MAX_TOKEN_LENGTH} characters")

        try:
            claims = self._claims(token)
            principal = msgspec.convert(
                {
                    "login": claims["sub"],
                    "name": claims.get("name") or claims["sub"],
                    "tenant_id": claims["tenant"],
                    "role": claims["role"],
                    "expires_at": int(claims["exp"]),
                    "issued_at": float(claims["iat"]),
                    "session_id": claims.get("sid", ""),
                    "issuer": claims["iss"],
                },
                Principal,
            )
        except (
            jwt.PyJWTError,
            msgspec.ValidationError,
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise NotAuthenticated(f"the token is not valid: {error}") from error

        if not principal.login.strip():
            raise NotAuthenticated("the token names no user: its `sub` is empty")
        if principal.expires_at - principal.issued_at > self._max_age_s:
            raise NotAuthenticated(
                f"the token is valid for longer than {self._max_age_s} s, which is the limit"
            )
        if principal.role not in ROLES:
            raise NotAuthenticated("the token has no role of Vigil")

        return principal

    def _claims(self, token: str) -> Mapping[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm, kind = header.get("alg"), header.get("typ")
        if str(kind).lower() not in TYPES and (kind is not None or algorithm == ALGORITHM):
            raise jwt.InvalidTokenError("its `typ` is not JWT")
        if self._secret and algorithm == ALGORITHM:
            return self._decode(token, self._secret, [ALGORITHM], issuer=ISSUER, audience=AUDIENCE)
        if self._provider is not None and algorithm in PROVIDER_ALGORITHMS:
            key = self._provider.of(token)
            return self._decode(token, key, PROVIDER_ALGORITHMS, issuer=self._issuer, audience=self._audience)

        raise jwt.InvalidAlgorithmError("its algorithm is not allowed")

    def _decode(
        self, token: str, key: Any, algorithms: Sequence[str], *, issuer: str, audience: str
    ) -> Mapping[str, Any]:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(algorithms),
            audience=audience,
            issuer=issuer,
            leeway=CLOCK_SKEW_S if key is not self._secret else 0,
            options={"require": CLAIMS},
        )
        return claims


class ProviderKeys:
    """Keys of an identity provider (RFC 7517).

    They are fetched again when they are old, or when a token names a new key.
    """

    def __init__(self, url: str, *, rule: DestinationRule = DEVELOPMENT) -> None:
        # Most installations have no provider.
        from services.outgoing.client import OutgoingClient, system_trust

        self._url = url
        self._client = OutgoingClient(rule, trust=system_trust())
        self._keys: Mapping[str, Any] = {}
        self._fetched_at_s = float("-inf")
        self._failure = ""
        self._again_from_s = float("-inf")
        self._fetching = threading.Lock()

    def of(self, token: str) -> Any:
        """Return the key that signed a token. Raises `jwt.InvalidTokenError`, `Unavailable`."""
        key_id = jwt.get_unverified_header(token).get("kid")
        key = self._current().get(key_id)
        if key is None:
            # This is the cool-down: tokens with invented key ids must not cause a fetch each time.
            key = self._current(age_s=JWKS_PAUSE_S).get(key_id)
        if key is None:
            raise jwt.InvalidKeyError("the identity provider has no key of the token's `kid`")
        return key

    def _current(self, *, age_s: float = JWKS_AGE_S) -> Mapping[Any, Any]:
        """Return the keys by id, fetched at most `age_s` ago. Raises `Unavailable`.

        A caller that waited for a failed fetch does not fetch again at once. Otherwise callers
        would wait one behind the other.
        """
        with self._fetching:
            now_s = time.monotonic()
            if now_s - self._fetched_at_s < age_s:
                return self._keys
            if now_s < self._again_from_s:
                raise Unavailable(self._failure)

            try:
                self._keys = self._fetch()
            except (VigilError, jwt.PyJWTError, OSError, ValueError) as error:
                # The errors of requests are OSErrors.
                self._failure = f"the identity provider's keys cannot be fetched: {error}"
                self._again_from_s = time.monotonic() + JWKS_FAILED_PAUSE_S
                raise Unavailable(self._failure) from error

            self._fetched_at_s = time.monotonic()
            return self._keys

    def _fetch(self) -> Mapping[Any, Any]:
        answer = self._client.request("GET", self._url, deadline_s=JWKS_TIMEOUT_S)
        if answer.status != 200:
            raise Unavailable(f"it answered {answer.status}")
        found = jwt.PyJWKSet.from_json(answer.body.decode())
        return {key.key_id: key for key in found.keys if key.public_key_use in ("sig", None) and key.key_id}


class RoleChanged(NotAuthenticated):
    """The user's role differs from the role in the token."""


class BarredTokens:
    """Tokens that are void before they expire.

    The user is disabled or changed, the session has ended, or the subject is barred.
    """

    def __init__(self) -> None:
        self._subjects: Mapping[tuple[int, str, str], float | None] = {}
        self._users: Mapping[str, float | None] = {}
        self._roles: Mapping[str, str] = {}
        self._sessions: frozenset[str] = frozenset()

    def update(
        self,
        *,
        users: Mapping[str, float | None],
        sessions: Sequence[str],
        roles: Mapping[str, str] = MappingProxyType({}),
        subjects: Sequence[tuple[int, str, str, float | None]] = (),
    ) -> None:
        """Store the answer of `list_barred`. `roles` holds the present roles of changed users."""
        self._subjects = {(tenant, issuer, name): until for tenant, issuer, name, until in subjects}
        self._users = users
        self._roles = roles
        self._sessions = frozenset(sessions)

    def check(self, principal: Principal) -> None:
        """Check a principal. Raises `NotAuthenticated` when its token is void."""
        if principal.session_id and principal.session_id in self._sessions:
            raise NotAuthenticated("the session has ended; log in again")

        subject = (principal.tenant_id, principal.issuer, principal.login)
        if subject in self._subjects:
            until = self._subjects[subject]
            if until is None or principal.issued_at < until:
                raise NotAuthenticated("access was withdrawn; ask an administrator")

        if principal.login in self._users:
            not_before = self._users[principal.login]
            if not_before is None:
                raise NotAuthenticated("the user is disabled")
            if principal.issued_at < not_before:
                role = self._roles.get(principal.login, principal.role)
                if role != principal.role:
                    raise RoleChanged(f"the user is {role} now, not {principal.role}; log in again")
                raise NotAuthenticated("the user's rights have changed; log in again")
