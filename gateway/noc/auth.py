"""Who is calling: tokens, one-use tickets, allowed origins."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import time
import uuid
from collections.abc import Sequence

import jwt
import msgspec
import redis
from werkzeug.wrappers import Request

from services import providers
from services.config import Config
from services.errors import Forbidden, Misconfigured, Unavailable

ISSUER = "vigil"
AUDIENCE = "vigil-noc"
ALGORITHM = "HS256"
CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti", "tenant", "role"]
ROLES = ("viewer", "operator", "supervisor", "admin", "platform")
MIN_SECRET_LENGTH = 32
PROTOCOL = "vigil.noc.v1"


class Principal(msgspec.Struct, frozen=True):
    """A person or program with a valid token. `expires_at` in Unix seconds."""

    name: str
    tenant_id: int
    role: str
    expires_at: int

    def must_handle_alerts(self) -> None:
        """Raises `Forbidden` for a viewer."""
        if self.role == "viewer":
            raise Forbidden("a viewer may look, not act; ask for the operator role")


class Tokens:
    """Makes and checks tokens. Raises `Misconfigured` for a secret that could be guessed."""

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_LENGTH:
            raise Misconfigured(
                f"JWT_SECRET has {len(secret)} characters and needs {MIN_SECRET_LENGTH};"
                " make one with: openssl rand -base64 48"
            )
        self._secret = secret

    def make(self, *, name: str, tenant_id: int, role: str, lifetime_s: int) -> str:
        if role not in ROLES:
            raise Forbidden(f"role is {role!r}; it must be one of {', '.join(ROLES)}")
        now = int(time.time())
        claims = {"exp": now + lifetime_s, "iat": now, "iss": ISSUER, "aud": AUDIENCE, "sub": name}
        return jwt.encode(
            {**claims, "jti": uuid.uuid4().hex, "tenant": tenant_id, "role": role},
            self._secret,
            algorithm=ALGORITHM,
        )

    def check(self, token: str) -> Principal:
        """Raises `Forbidden` whatever is wrong with the token."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": CLAIMS},
            )
        except jwt.InvalidTokenError as error:
            raise Forbidden(f"the token is not valid: {error}") from error
        if claims["role"] not in ROLES or not isinstance(claims["tenant"], int):
            raise Forbidden("the token names no role or tenant of ours")
        return Principal(str(claims["sub"]), claims["tenant"], claims["role"], int(claims["exp"]))


class Tickets:
    """One-use passes to the websocket, for browsers, which cannot send a header there. Kept as hashes."""

    def __init__(self, client: redis.Redis, *, prefix: str, lifetime_s: int) -> None:
        self._redis = client
        self._prefix = prefix
        self.lifetime_s = lifetime_s

    @classmethod
    def from_config(cls, config: Config) -> Tickets:
        client = providers.make_redis(config)
        return cls(client, prefix=config.redis.key_prefix, lifetime_s=config.noc.ticket_lifetime_s)

    def make(self, principal: Principal) -> str:
        """Raises `Unavailable`."""
        ticket = secrets.token_urlsafe(32)
        try:
            self._redis.set(self._key(ticket), msgspec.json.encode(principal), ex=self.lifetime_s)
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error
        return ticket

    def redeem(self, ticket: str) -> Principal:
        """Raises `Forbidden` for one that is unknown, used or too old; `Unavailable`."""
        try:
            held = self._redis.getdel(self._key(ticket))
        except redis.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error
        if not isinstance(held, bytes):
            raise Forbidden("the ticket is unknown, used or too old")
        return msgspec.json.decode(held, type=Principal)

    def _key(self, ticket: str) -> str:
        return f"{self._prefix}:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"


def bearer(request: Request) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def offered_ticket(request: Request) -> str | None:
    """The ticket in `Sec-WebSocket-Protocol: vigil.noc.v1, ticket.<ticket>`."""
    offered = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    return next((part.removeprefix("ticket.") for part in offered if part.startswith("ticket.")), None)


def check_origin(request: Request, *, allowed: Sequence[str]) -> None:
    """Raises `Forbidden` for a page of another origin. Programs send none and are not asked."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if origin != f"{request.scheme}://{request.host}" and origin not in allowed:
        raise Forbidden(f"origin {origin[:100]!r} is not allowed; see VIGIL_ALLOWED_ORIGINS")


def check_peer(peer: str, *, networks: str) -> None:
    """Raises `Forbidden` unless the socket's peer is in one of the comma-listed networks."""
    address = ipaddress.ip_address(peer)
    for network in (part.strip() for part in networks.split(",") if part.strip()):
        if address in ipaddress.ip_network(network, strict=False):
            return
    raise Forbidden(f"{peer} is not in PROMETHEUS_ALLOWED_IPS")
