"""The client of a request, by address: the socket's peer, or a trusted proxy's client. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from services.contracts.errors import Forbidden
from services.platform.config import NocSettings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

OWN_PROXY = "127.0.0.1, ::1"
"""HAProxy's address when it reaches our servers by loopback.

Other programs of this machine may use other loopback addresses.
"""


class NetworkList:
    """A comma list of networks, such as `10.0.0.0/8, ::1`.

    A part that is no network admits nobody, and is in `bad`.
    """

    def __init__(self, text: str) -> None:
        self.bad: list[str] = []
        self._networks: list[Network] = []
        for part in (part.strip() for part in text.split(",") if part.strip()):
            try:
                self._networks.append(ip_network(part, strict=False))
            except ValueError:
                self.bad.append(part)

    def has(self, text: str) -> bool:
        """Return whether the text is an address in one of the networks."""
        address = _address(text)
        return address is not None and address in self

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def proxies(noc: NocSettings) -> NetworkList:
    """Return the proxies that are believed about their clients.

    They are HAProxy on this machine, and the operator's own proxies.
    """
    return NetworkList(f"{OWN_PROXY}, {noc.trusted_proxies}")


def client_of(peer: str, forwarded_for: str, *, trusted: NetworkList) -> str:
    """Return the address that the request counts for.

    Only a trusted proxy is believed about its client, and only its own entry, the last one. While
    that entry is a trusted proxy too, the entry to its left counts. Anybody could have written the
    entries further left.

    Raises:
        Forbidden: A trusted proxy's entry is no address.
    """
    client = _address(peer)
    entries = [entry.strip() for entry in forwarded_for.split(",") if entry.strip()]
    while client is not None and client in trusted and entries:
        client = _address(entry := entries.pop())
        if client is None:
            raise Forbidden(
                f"X-Forwarded-For says {entry[:60]!r}, which is not an address; check the proxy {peer}"
            )
    return str(client) if client is not None else peer


def holder_of(address: str) -> str:
    """Return the name under which an address is counted.

    For IPv6 it is the address's /64, which one subscriber owns whole.
    """
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found) if found is not None else address


def check_allowed(client: str, *, allowed: NetworkList) -> None:
    """Check that the client may read metrics. Raises `Forbidden`."""
    address = _address(client)
    if address is None or address not in allowed:
        raise Forbidden(f"{client} is not in PROMETHEUS_ALLOWED_IPS")


def problems(noc: NocSettings) -> Iterator[str]:
    """Yield a sentence for each part of the address lists that is no network."""
    lists = {"PROMETHEUS_ALLOWED_IPS": noc.metrics_allowed_ips, "VIGIL_TRUSTED_PROXIES": noc.trusted_proxies}
    for variable, text in lists.items():
        for part in NetworkList(text).bad:
            yield f"{variable}: {part!r} is not a network; write networks like 10.0.0.0/8, 192.168.1.5, fd00::/8"


def _address(text: str) -> Address | None:
    """Return the address in a text; None when it is none.

    An IPv4 address that came over an IPv6 socket is that IPv4 address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
