"""Callers of a NOC process: the user of a valid token, or an address. Each has a request limit."""

from __future__ import annotations

import time

from werkzeug.wrappers import Request

from gateway.noc.auth import origins, requests
from gateway.noc.auth.tokens import BarredTokens, Principal, Tokens
from services.contracts.errors import Forbidden, NotAuthenticated
from services.messaging import RequestRates
from services.messaging.http_server import client_address
from services.messaging.http_server.client_address import NetworkList
from services.platform import security_events
from services.platform.config import Config
from services.platform.token_buckets import TokenBuckets

NOTED_EVERY_S = 3600.0
"""Interval of the log entry about an untrusted address that forwards requests, in seconds."""
BARS_INTERVAL_S = 2.0
"""Interval at which a process fetches the barred users and sessions, in seconds."""


class Callers:
    """Identifies the caller of a request, and counts the request for the user or the address."""

    def __init__(self, config: Config) -> None:
        noc = config.noc
        self.tokens = Tokens.from_config(config)
        self.bars = BarredTokens()
        self._proxies = client_address.proxies(noc)
        self._origins = origins.allowed_origins(config)
        self._unknown_proxies = TokenBuckets(count=1, window_s=NOTED_EVERY_S)
        self._users = RequestRates(noc.user_requests, event="user_requests_limited")
        self._strangers = RequestRates(noc.open_requests, event="open_requests_limited")
        self._providers = RequestRates(noc.provider_requests, event="provider_requests_limited")

    def principal(self, request: Request) -> Principal:
        """Return the user of the request's token, and count the request.

        Raises:
            NotAuthenticated: The request has no valid token.
            TooMany: The user or the address has sent too many requests.
        """
        try:
            principal = self._believed(request)
        except NotAuthenticated:
            self.count_stranger(request)
            raise
        self._users.take(f"{principal.tenant_id} {principal.login}", whose=principal.login)
        return principal

    def count_stranger(self, request: Request) -> str:
        """Count a request without a valid token. Return the address that it counts for.

        Raises `TooMany`.
        """
        client = self.address(request)
        holder = client_address.holder_of(client)
        self._strangers.take(holder, whose=f"address {client}")
        return holder

    def count_provider(self, request: Request) -> None:
        """Count a request that claims to be from a provider. Few addresses report on many messages.

        Raises:
            TooMany: The address has sent too many requests.
        """
        client = self.address(request)
        self._providers.take(client_address.holder_of(client), whose=f"address {client}")

    def address(self, request: Request) -> str:
        """Return the address that the request counts for. Raises `Forbidden`.

        All requests through a proxy that is not trusted count for the proxy's own address.
        """
        if requests.is_from_unknown_proxy(request, trusted=self._proxies):
            self._note_unknown_proxy(request.remote_addr or "")
        return requests.client_address(request, trusted=self._proxies)

    def check_watcher(self, request: Request, *, allowed: NetworkList) -> None:
        """Check the address of a request for metrics or health details.

        Raises:
            Forbidden: This address may not watch the installation. The true origin behind a proxy
                that is not trusted is unknown, so such a request is refused too.
        """
        address = self.address(request)
        if requests.is_from_unknown_proxy(request, trusted=self._proxies):
            raise Forbidden(
                f"a proxy at {request.remote_addr} forwarded this request, and it is not in VIGIL_TRUSTED_PROXIES"
            )
        client_address.check_allowed(address, allowed=allowed)

    def check_origin(self, request: Request) -> None:
        """Check the origin of a page. Raises `Forbidden` for another origin."""
        requests.check_origin(request, allowed=self._origins, trusted=self._proxies)

    def _note_unknown_proxy(self, peer: str) -> None:
        if self._unknown_proxies.take(peer, now_s=time.monotonic()) is None:
            security_events.note("unknown_proxy", peer=peer, remedy="name the proxy in VIGIL_TRUSTED_PROXIES")

    def _believed(self, request: Request) -> Principal:
        token = requests.bearer(request)
        if token is None:
            raise NotAuthenticated("send `Authorization: Bearer <token>`; POST /api/v1/session gives one")
        principal = self.tokens.check(token)
        self.bars.check(principal)
        return principal
