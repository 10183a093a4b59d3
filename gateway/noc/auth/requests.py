"""Sender's data in a request: token, ticket, origin, address, body."""

from __future__ import annotations

from collections.abc import Sequence

from werkzeug.wrappers import Request

from services.contracts.errors import Forbidden, TooLarge
from services.messaging.http_server.client_address import NetworkList, client_of
from services.platform import security_events

PROTOCOL = "vigil.noc.v1"
SCHEMES = ("http", "https")
FORWARDED = ("X-Forwarded-For", "Forwarded")


def bearer(request: Request) -> str | None:
    """Return the token of an `Authorization: Bearer` header; None without one."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None


def offered_ticket(request: Request) -> str | None:
    """Return the ticket in `Sec-WebSocket-Protocol: vigil.noc.v1, ticket.<ticket>`.

    Returns:
        None when there is no ticket.
    """
    offered = [part.strip() for part in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    return next((part.removeprefix("ticket.") for part in offered if part.startswith("ticket.")), None)


def check_origin(request: Request, *, allowed: Sequence[str], trusted: NetworkList) -> None:
    """Check the origin of a page. Programs send no origin and pass.

    Raises:
        Forbidden: The page is of another origin.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if origin != f"{scheme_of(request, trusted=trusted)}://{request.host}" and origin not in allowed:
        security_events.note("origin_refused", origin=origin[:100])
        raise Forbidden(f"origin {origin[:100]!r} is not allowed; see VIGIL_ALLOWED_ORIGINS")


def body_of(request: Request, *, max_bytes: int) -> bytes:
    """Return the body. Raises `TooLarge`, before the read when the length is known."""
    said_bytes = request.content_length
    if said_bytes is not None and said_bytes > max_bytes:
        raise TooLarge(f"the body has {said_bytes} bytes; at most {max_bytes} are taken here")

    # Not `get_data`: when the length is unknown, werkzeug silently cuts the body at its limit.
    stream, parts, left_bytes = request.environ["wsgi.input"], [], max_bytes + 1
    while left_bytes > 0 and (data := stream.read(left_bytes)):
        parts.append(data)
        left_bytes -= len(data)

    if left_bytes <= 0:
        raise TooLarge(f"the body has more than the {max_bytes} bytes that are taken here")

    return b"".join(parts)


def scheme_of(request: Request, *, trusted: NetworkList) -> str:
    """Return the scheme of the client's request.

    A trusted proxy gives it in `X-Forwarded-Proto`.
    """
    said = request.headers.get("X-Forwarded-Proto", "").lower()
    if said in SCHEMES and trusted.has(request.remote_addr or ""):
        return said
    return request.scheme


def is_from_unknown_proxy(request: Request, *, trusted: NetworkList) -> bool:
    """Return True when an untrusted proxy forwarded the request.

    Its true sender is then unknown.
    """
    is_forwarded = any(name in request.headers for name in FORWARDED)
    return is_forwarded and not trusted.has(request.remote_addr or "")


def client_address(request: Request, *, trusted: NetworkList) -> str:
    """Return the address that the request counts for; see `client_of`. Raises `Forbidden`."""
    return client_of(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""), trusted=trusted)
