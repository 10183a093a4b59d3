"""The HTTP client of every outgoing request: each connection goes to a checked address.

A name is looked up once for each connection. All of its addresses are checked against the rule, and
the connection goes to one of them. The name can therefore not change in between (DNS rebinding).
TLS is always verified, by the name. Redirects are never followed. An answer is bounded in bytes and
in time. Environment variables for proxies and certificates are not read.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import eventlet
import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool

from services.outgoing.rules import (
    Destination,
    DestinationRule,
    ForbiddenDestination,
    check_addresses,
    check_url,
)

CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 262_144
MOST_ADDRESSES = 4
"""Addresses of a name that are tried.

The next one is tried only when the one before took no connection.
"""

Resolve = Callable[[str, int], list[str]]
"""Function from (host, port) to addresses. Raises `OSError`."""
Allows = Callable[[Destination], bool]
"""A further check of a destination, for libraries that build their URLs themselves."""


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a name, each once. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def system_trust() -> str | bool:
    """Return the certificates that the machine trusts.

    True stands for those of `certifi`, when the machine names none.
    """
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


class HttpResponse:
    """Status, headers and the first bytes of a body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class OutgoingClient:
    """Client for requests under one rule.

    `trust` is as in `requests`: True, or a file or folder of certificates.
    """

    def __init__(
        self, rule: DestinationRule, *, resolver: Resolve = resolve, trust: str | bool = True
    ) -> None:
        self._rule = rule
        self._resolver = resolver
        self._trust = trust

    def session(self, *, deadline_s: float, allows: Allows | None = None) -> GuardedSession:
        """Return a session whose requests must all end within the deadline, counted from now."""
        adapter = _GuardedAdapter(self._rule, self._resolver, allows)
        return GuardedSession(adapter, trust=self._trust, ends_at_s=time.monotonic() + deadline_s)

    def request(self, method: str, url: str, *, deadline_s: float, **options: Any) -> HttpResponse:
        """Make one request. Raises `ForbiddenDestination`, `requests.RequestException`, `TimeoutError`."""
        with self.session(deadline_s=deadline_s) as session:
            response = session.request(method, url, **options)
            return HttpResponse(response.status_code, response.headers, response.content)


class GuardedSession(requests.Session):
    """A session that only its owner may widen: options of a request do not change its guards."""

    def __init__(self, adapter: _GuardedAdapter, *, trust: str | bool, ends_at_s: float) -> None:
        super().__init__()
        self.trust_env = False
        self._trust = trust
        self._ends_at_s = ends_at_s
        self.adapters.clear()
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: an answer that points elsewhere is the answer."""
        return None

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request.

        Raises:
            ForbiddenDestination: The rule forbids the destination.
            requests.RequestException: The request failed.
            TimeoutError: The deadline has passed.
        """
        left_s = self._ends_at_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no time left for another request")

        options |= {
            "verify": self._trust,
            "proxies": {},
            "cert": None,
            "allow_redirects": False,
            "stream": True,
            "timeout": (min(CONNECT_TIMEOUT_S, left_s), left_s),
        }

        with _deadline(left_s):
            response = super().send(request, **options)
            try:
                body = response.raw.read(MAX_ANSWER_BYTES, decode_content=True)
            finally:
                response.close()

        # `requests` itself sets these when it has read a whole answer.
        response._content = body
        response._content_consumed = True  # type: ignore[attr-defined]

        return response


class _GuardedAdapter(HTTPAdapter):
    """Adapter that connects to one checked address.

    It talks to the address (Host, SNI, certificate) by the name that was asked for.
    """

    def __init__(self, rule: DestinationRule, resolver: Resolve, allows: Allows | None) -> None:
        self._rule = rule
        self._resolver = resolver
        self._allows = allows
        self._pinned = ""
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        target = check_url(request.url or "", self._rule)
        if self._allows is not None and not self._allows(target):
            raise ForbiddenDestination(f"{target.host}:{target.port} is not a host of this service")

        addresses = self._addresses(target)
        for address in addresses[:-1]:
            self._pinned = address
            try:
                return super().send(request, *args, **options)
            except requests.ConnectionError as error:
                if not never_connected(error):
                    raise

        self._pinned = addresses[-1]
        return super().send(request, *args, **options)

    def add_headers(self, request: requests.PreparedRequest, **options: Any) -> None:
        super().add_headers(request, **options)
        request.headers["Host"] = urlsplit(request.url or "").netloc.rpartition("@")[2]

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,
        proxies: Any = None,  # noqa: ARG002
        cert: Any = None,
    ) -> HTTPConnectionPool:
        """Return the pool of the pinned address; never the pool of a proxy."""
        assert self._pinned
        target = check_url(request.url or "", self._rule)
        where, tls = self.build_connection_pool_key_attributes(request, verify, cert)
        host: dict[str, Any] = {**where, "host": self._pinned, "port": target.port}
        options: dict[str, Any] = dict(tls)
        if target.scheme == "https":
            options |= {"server_hostname": target.host, "assert_hostname": target.host}
        pool: HTTPConnectionPool = self.poolmanager.connection_from_host(**host, pool_kwargs=options)
        return pool

    def _addresses(self, target: Destination) -> list[str]:
        """Return the addresses to try. Raises `ForbiddenDestination`, `requests.ConnectionError`."""
        try:
            with _deadline(CONNECT_TIMEOUT_S):
                addresses = self._resolver(target.host, target.port)
        except (OSError, ValueError) as error:
            raise HostNotFound(f"{target.host}: {error}") from error
        if not addresses:
            raise HostNotFound(f"{target.host} has no address")
        check_addresses(target, addresses, self._rule)
        return addresses[:MOST_ADDRESSES]


class HostNotFound(requests.ConnectionError):
    """A host name that has no address, or that could not be looked up."""


def never_connected(error: BaseException) -> bool:
    """Return whether a connection was never made: then nothing can have been sent."""
    names = ("NewConnectionError", "NameResolutionError")
    return any(isinstance(link, HostNotFound) or type(link).__name__ in names for link in chain(error))


def chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and its causes, the outermost first."""
    links: list[BaseException] = []
    while error is not None and len(links) < 10:
        links.append(error)
        reason = getattr(error, "reason", None)
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        error = reason if isinstance(reason, BaseException) else inner or error.__cause__ or error.__context__
    return links


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block when it takes longer."""
    with eventlet.Timeout(seconds, TimeoutError(f"no answer within {seconds:.3g} s")):
        yield
