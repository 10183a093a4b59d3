"""Signed webhooks: JSON to a URL of a customer's, which must not become a way into our network (SSRF).

    X-Vigil-Signature: t=<Unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>" under VIGIL_WEBHOOK_SECRET>
    X-Vigil-Reference: the same for each attempt, so that a receiver knows a repeat

The name is looked up once, every address is checked, and the connection goes to the one that was checked.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import eventlet
import msgspec
import requests
from requests.adapters import HTTPAdapter

from services.notifications.channels import CONNECT_TIMEOUT_S, Accepted, CannotTell, Outgoing, SendFailed, web
from services.notifications.channels.addresses import is_public

Resolve = Callable[[str, int], list[str]]
"""(host, port) -> addresses. Raises `OSError`."""


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class PinnedAdapter(HTTPAdapter):
    """Connects to one address, and talks to it (Host, SNI, certificate) by the name that was asked for."""

    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self._host, assert_hostname=self._host, **kwargs)


class WebhookChannel:
    """`allow_private`: plain HTTP and private addresses are fine too (closed networks, tests)."""

    name = "webhook"

    def __init__(
        self,
        *,
        secret: str,
        allow_private: bool = False,
        deadline_s: float = 15.0,
        resolver: Resolve = resolve,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret.encode()
        self._allow_private = allow_private
        self._deadline_s = deadline_s
        self._resolve = resolver
        self._clock = clock

    def send(self, outgoing: Outgoing) -> Accepted:
        parts = self._checked(outgoing.recipient)
        address = self._address(parts)
        body = body_of(outgoing)
        at_s = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Vigil",
            "Host": parts.netloc.rpartition("@")[2],
            "X-Vigil-Reference": outgoing.reference,
            "X-Vigil-Signature": f"t={at_s},v1={signature(self._secret, at_s, body)}",
        }
        with requests.Session() as session:
            session.trust_env = False
            if parts.scheme == "https":
                session.mount("https://", PinnedAdapter(parts.hostname or ""))
            answer = web.call(
                session,
                "POST",
                _pinned(parts, address),
                provider=self.name,
                deadline_s=self._deadline_s,
                data=body,
                headers=headers,
            )
        if 300 <= answer.status < 400:
            raise SendFailed(
                f"webhook answered {answer.status}: redirects are not followed",
                kind="refused",
                permanent=True,
            )
        web.check(answer, provider=self.name, permanent=answer.status in (404, 410))
        return Accepted(provider_ref=outgoing.reference)

    def find(self, outgoing: Outgoing, *, since: datetime) -> Accepted | None:  # noqa: ARG002
        raise CannotTell("a webhook's receiver cannot be asked; it knows a repeat by X-Vigil-Reference")

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise SendFailed(
                f"webhook: not a URL: {error}", kind="invalid_recipient", permanent=True
            ) from error
        allowed = ("https", "http") if self._allow_private else ("https",)
        if parts.scheme not in allowed or not parts.hostname:
            raise SendFailed(
                "webhook: the URL must begin with https://", kind="forbidden_address", permanent=True
            )
        return parts

    def _address(self, parts: SplitResult) -> str:
        """The checked address to connect to: of all that the name has, each must be public."""
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        limit_s = min(CONNECT_TIMEOUT_S, self._deadline_s)
        try:
            with eventlet.Timeout(limit_s, TimeoutError("the name was not found in time")):
                addresses = self._resolve(host, port)
        except OSError as error:
            raise SendFailed(f"webhook: {host}: {error}", kind="unreachable") from error
        if not addresses:
            raise SendFailed(f"webhook: {host} has no address", kind="unreachable")
        if not self._allow_private and not all(map(is_public, addresses)):
            raise SendFailed(
                f"webhook: {host} leads to an address that is not public",
                kind="forbidden_address",
                permanent=True,
            )
        return addresses[0]


def body_of(outgoing: Outgoing) -> bytes:
    return msgspec.json.encode(
        {
            "reference": outgoing.reference,
            "subject": outgoing.subject,
            "text": outgoing.text,
            "possible_duplicate": outgoing.possible_duplicate,
            **outgoing.data,
        }
    )


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    return hmac.digest(secret, f"{at_s}.".encode() + body, hashlib.sha256).hex()


def _pinned(parts: SplitResult, address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    netloc = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
