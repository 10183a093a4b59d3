"""One-use passes to the websocket."""

from __future__ import annotations

import hashlib
import secrets

import msgspec
import redis

from gateway.noc.auth.tokens import Principal
from services.contracts.errors import NotAuthenticated
from services.platform import redis_client, security_events
from services.platform.config import Config
from services.platform.outages import unavailable
from services.platform.sealed_values import seal, unseal

PURPOSE = "ticket"


class Ticket(msgspec.Struct, frozen=True):
    """Stored data of a ticket: its user and its page."""

    principal: Principal
    origin: str | None


class Tickets:
    """One-use passes to the websocket for browsers, which cannot send a header there.

    Redis holds the hash of a ticket, and the ticket's data sealed under the ticket itself. So only
    the ticket's holder can open the data.
    """

    def __init__(self, client: redis.Redis, *, prefix: str, lifetime_s: int) -> None:
        self._redis = client
        self._prefix = prefix
        self.lifetime_s = lifetime_s

    @classmethod
    def from_config(cls, config: Config) -> Tickets:
        client = redis_client.make_redis(config)
        return cls(client, prefix=config.redis.key_prefix, lifetime_s=config.noc.ticket_lifetime_s)

    def make(self, principal: Principal, *, origin: str | None) -> str:
        """Return a ticket, for the page at `origin` only when there is one.

        Raises `Unavailable`.
        """
        ticket = f"{principal.tenant_id}.{secrets.token_urlsafe(32)}"
        plain = msgspec.json.encode(Ticket(principal, origin))
        key = self._key(ticket)
        try:
            self._redis.set(key, seal(ticket.encode(), plain, purpose=PURPOSE, name=key), ex=self.lifetime_s)
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error
        return ticket

    def redeem(self, ticket: str, *, origin: str | None) -> Principal:
        """Return the user of a ticket, and use the ticket up.

        Raises:
            NotAuthenticated: The ticket is unknown, used, too old, or another page's.
            Unavailable: Redis does not answer.
        """
        key = self._key(ticket)
        try:
            held = self._redis.getdel(key)
        except redis.RedisError as error:
            raise unavailable(error, f"Redis: {error}") from error

        plain = (
            unseal([ticket.encode()], held, purpose=PURPOSE, name=key) if isinstance(held, bytes) else None
        )
        if plain is None:
            security_events.note("ticket_refused")
            raise NotAuthenticated("the ticket is unknown, used or too old")

        found = msgspec.json.decode(plain, type=Ticket)
        if found.origin is not None and found.origin != origin:
            security_events.note("ticket_of_another_page")
            raise NotAuthenticated("the ticket was made for another page")

        return found.principal

    def _key(self, ticket: str) -> str:
        tenant, _, _ = ticket.partition(".")
        owner = tenant if tenant.isascii() and tenant.isdigit() and len(tenant) < 12 else "0"
        return f"{self._prefix}:ticket:{owner}:{hashlib.sha256(ticket.encode()).hexdigest()}"
