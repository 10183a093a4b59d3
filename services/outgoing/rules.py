"""Rules of outgoing URLs: scheme, form of the host, port and allowed addresses. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from services.contracts.errors import VigilError
from services.outgoing.safe_addresses import is_loopback, is_public

PORTS = {"https": 443, "http": 80}
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
"""A last label that `inet_aton` takes for (a part of) an IPv4 address.

Examples: 127.1, 2130706433, 0x7f.1, 010.0.0.1.
"""
OF_THIS_NETWORK = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "home.arpa",
    "onion",
    "alt",
)
"""Domains that no server on the internet has.

They are those of RFC 6761, 6762, 7686, 8375 and 9476, and ICANN's name collisions.
"""
MAX_URL = 4096


class ForbiddenDestination(VigilError):  # noqa: N818
    """A destination that the rule of a request forbids. No byte was sent."""


class DestinationRule(msgspec.Struct, frozen=True, kw_only=True):
    """The destinations that a kind of request may have.

    `ports`: the allowed ports; empty: any. `plain`: http to anywhere is allowed. Without `plain`,
    http is allowed only to this machine, and only if `private`. `private`: addresses that are not
    public are allowed.
    """

    name: str
    private: bool
    plain: bool
    ports: frozenset[int] = frozenset()


class Destination(msgspec.Struct, frozen=True):
    """A destination of valid form.

    `host` is in lower case, without brackets and without a dot at its end.
    """

    scheme: str
    host: str
    port: int


def tenant(ports: Sequence[int]) -> DestinationRule:
    """Return the rule of URLs that a tenant writes."""
    return DestinationRule(name="tenant", private=False, plain=False, ports=frozenset(ports))


CLOSED_NETWORK = DestinationRule(name="closed network", private=True, plain=True)
OPERATOR = DestinationRule(name="operator", private=True, plain=False)
DEVELOPMENT = DestinationRule(name="development", private=True, plain=True)


def of_operator(environment: str) -> DestinationRule:
    """Return the rule of URLs in the configuration."""
    return OPERATOR if environment == "production" else DEVELOPMENT


def of_tenants(*, allow_private: bool, ports: Sequence[int]) -> DestinationRule:
    """Return the rule of URLs that tenants write, as the installation is configured."""
    return CLOSED_NETWORK if allow_private else tenant(ports)


def check_url(url: str, rule: DestinationRule) -> Destination:
    """Return the destination of a URL, by its form alone. Raises `ForbiddenDestination`."""
    if len(url) > MAX_URL:
        raise ForbiddenDestination(f"the URL has more than {MAX_URL} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ForbiddenDestination(
            "the URL has forbidden characters; write them as %xx, and a host with other letters as xn--"
        )

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ForbiddenDestination(f"this is not a URL: {error}") from error

    if parts.scheme not in PORTS or (parts.scheme == "http" and not (rule.plain or rule.private)):
        raise ForbiddenDestination("the URL must begin with https://")
    if port is None:
        port = PORTS[parts.scheme]
    if rule.ports and port not in rule.ports:
        allowed = " and ".join(map(str, sorted(rule.ports)))
        raise ForbiddenDestination(f"port {port} is not allowed; allowed are {allowed}")
    if "[" in parts.netloc and ":" not in host:
        raise ForbiddenDestination(f"[{host}] is not an IPv6 address")

    return Destination(parts.scheme, _checked_host(host, rule), port)


def check_addresses(target: Destination, addresses: Sequence[str], rule: DestinationRule) -> None:
    """Check all addresses of a name against the rule; one forbidden address is enough to refuse.

    Raises:
        ForbiddenDestination: An address is forbidden.
    """
    if not rule.private and not all(map(is_public, addresses)):
        raise ForbiddenDestination(f"{target.host} leads to an address that is not public")
    if target.scheme == "http" and not rule.plain and not all(map(is_loopback, addresses)):
        raise ForbiddenDestination(f"{target.host} is not this machine: the URL must begin with https://")


def _checked_host(host: str, rule: DestinationRule) -> str:
    """Return the host in its one form.

    An address is written in full. A name has a dot, unless it may be of this network.
    """
    if "%" in host:
        raise ForbiddenDestination(f"{host} is not a host: it has a % in it")

    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise ForbiddenDestination(f"{host} is not an IPv6 address") from error

    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise ForbiddenDestination(f"{host[:253]!r} is not the name of a host")

    if NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise ForbiddenDestination(
                f"{host} is not an address in full; write it as four numbers"
            ) from error

    if not rule.private and (len(labels) == 1 or _is_of_this_network(host)):
        raise ForbiddenDestination(f"{host} is a name of a network of ours, not of the internet")

    return host


def _is_of_this_network(host: str) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in OF_THIS_NETWORK)
