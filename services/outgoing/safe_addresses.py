"""Public and other IP addresses, by the registries of IANA for special purposes. Pure."""

from __future__ import annotations

import ipaddress

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address

NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            # Azure answers here for its own services, on every network.
            "168.63.129.16/32",
        ),
    )
)  # fmt: skip
"""Every block of the IPv4 registry, even a reachable one: none is a customer's server."""
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The addresses that IANA assigns.

The rest belongs to one network (fec0::/10), to one machine, or to nobody.
"""
NOT_PUBLIC_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
        ),
    )
)  # fmt: skip
"""Blocks of global unicast that are not public.

They are for protocols (Teredo, ORCHID, AS112), documentation, 6to4 and 6bone.
"""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
ISATAP = (0x00005EFE, 0x02005EFE)
"""The upper half of an interface identifier, with an IPv4 address in its lower half.

See RFC 5214, 6.1.
"""


def is_public(address: str) -> bool:
    """Return whether an IP address is on the internet, also by an older address inside it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False

    if isinstance(ip, IPv4):
        return _is_public_v4(ip)
    if ip.scope_id is not None or int(ip) >> 32 & 0xFFFFFFFF in ISATAP:
        return False

    inner = _inside(ip)
    if inner is not None:
        return _is_public_v4(inner)

    return ip in GLOBAL_UNICAST and not any(ip in network for network in NOT_PUBLIC_V6)


def is_loopback(address: str) -> bool:
    """Return whether an IP address is this machine's own."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6) else None
    return (mapped or ip).is_loopback


def _is_public_v4(ip: IPv4) -> bool:
    return not any(ip in network for network in NOT_PUBLIC_V4)


def _inside(ip: IPv6) -> IPv4 | None:
    """Return the IPv4 address that a connection to an IPv6 address goes to; None: to none."""
    if ip in NAT64:
        return IPv4(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped
