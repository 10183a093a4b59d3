"""Who calls a NOC process: the user of a token that is not void, or an address; each has a share of requests."""

from __future__ import annotations

import time

from werkzeug.wrappers import Request

from gateway.noc import requests
from gateway.noc.auth import Bars, Principal, Tokens
from services import origins, peers, security
from services.bus import RequestRates
from services.config import Config
from services.errors import Forbidden, NotAuthenticated
from services.peers import Networks
from services.token_buckets import TokenBuckets

NOTED_EVERY_S = 3600.0
"""So often the log says of an address that it passes requests on and is not trusted."""
BARS_INTERVAL_S = 2.0
"""How often a process asks which users and sessions are barred."""


class Callers:
    """Names the caller of a request, and counts the request for the user or the address."""

    def __init__(self, config: Config) -> None:
        noc = config.noc
        self.tokens = Tokens.from_config(config)
        self.bars = Bars()
        self._proxies = peers.proxies(noc)
        self._origins = origins.allowed_origins(config)
        self._unknown_proxies = TokenBuckets(count=1, window_s=NOTED_EVERY_S)
        self._users = RequestRates(noc.user_requests, event="user_requests_limited")
        self._strangers = RequestRates(noc.open_requests, event="open_requests_limited")
        self._providers = RequestRates(noc.provider_requests, event="provider_requests_limited")

    def principal(self, request: Request) -> Principal:
        """Return the user of the request's token, and count the request. Raises `NotAuthenticated`, `TooMany`."""
        try:
            principal = self._believed(request)
        except NotAuthenticated:
            self.count_stranger(request)
            raise
        self._users.take(f"{principal.tenant_id} {principal.login}", whose=principal.login)
        return principal

    def count_stranger(self, request: Request) -> str:
        """Count a request that comes without a valid token, and return the address it counts for. Raises `TooMany`."""
        client = self.address(request)
        holder = peers.holder_of(client)
        self._strangers.take(holder, whose=f"address {client}")
        return holder

    def count_provider(self, request: Request) -> None:
        """Count a request that claims to come from a provider: few addresses send the reports of many messages."""
        client = self.address(request)
        self._providers.take(peers.holder_of(client), whose=f"address {client}")

    def address(self, request: Request) -> str:
        """Return the address that the request counts for. Raises `Forbidden`.

        All requests that a proxy passes on which is not trusted count for that proxy's own address.
        """
        if requests.is_from_unknown_proxy(request, trusted=self._proxies):
            self._note_unknown_proxy(request.remote_addr or "")
        return requests.client_address(request, trusted=self._proxies)

    def check_watcher(self, request: Request, *, allowed: Networks) -> None:
        """Raises `Forbidden` unless the request comes from where this installation may be watched.

        What a proxy passed on that is not trusted comes from nobody knows where.
        """
        address = self.address(request)
        if requests.is_from_unknown_proxy(request, trusted=self._proxies):
            raise Forbidden(
                f"a proxy at {request.remote_addr} passed this on, and it is not in VIGIL_TRUSTED_PROXIES"
            )
        peers.check_allowed(address, allowed=allowed)

    def check_origin(self, request: Request) -> None:
        """Raises `Forbidden` for a page of another origin."""
        requests.check_origin(request, allowed=self._origins, trusted=self._proxies)

    def _note_unknown_proxy(self, peer: str) -> None:
        if self._unknown_proxies.take(peer, now_s=time.monotonic()) is None:
            security.note("unknown_proxy", peer=peer, remedy="name the proxy in VIGIL_TRUSTED_PROXIES")

    def _believed(self, request: Request) -> Principal:
        token = requests.bearer(request)
        if token is None:
            raise NotAuthenticated("send `Authorization: Bearer <token>`; POST /api/v1/session gives one")
        principal = self.tokens.check(token)
        self.bars.check(principal)
        return principal
