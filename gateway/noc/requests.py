"""What a request says of its sender: token, ticket, origin, address."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from werkzeug.wrappers import Request

from services import security
from services.errors import Forbidden

PROTOCOL = "vigil.noc.v1"


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
        security.note("origin_refused", origin=origin[:100])
        raise Forbidden(f"origin {origin[:100]!r} is not allowed; see VIGIL_ALLOWED_ORIGINS")


def check_peer(peer: str, *, networks: str) -> None:
    """Raises `Forbidden` unless the socket's peer is in one of the comma-listed networks."""
    address = ipaddress.ip_address(peer)
    for network in (part.strip() for part in networks.split(",") if part.strip()):
        if address in ipaddress.ip_network(network, strict=False):
            return
    raise Forbidden(f"{peer} is not in PROMETHEUS_ALLOWED_IPS")
