"""Shares of the calls of a channel: no tenant and no destination has all of them. Pure.

A destination that hangs keeps a call until the deadline. It has a few of these calls at most, and
its tenant a part of all calls. The calls of other tenants go on.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from services.outgoing.apprise_urls import SERVICES, host_of, scheme_of

MOST_REMEMBERED = 1000

Destination = tuple[int, str]
"""(tenant, common part of its calls: a host, or a service)."""


class DestinationShares:
    """Calls under way by tenant and destination."""

    def __init__(self, *, of_tenant: int, of_destination: int) -> None:
        self._of_tenant = of_tenant
        self._of_destination = of_destination
        self._tenants: Counter[int] = Counter()
        self._destinations: Counter[Destination] = Counter()
        self._recipients: dict[Destination, set[str]] = {}

    def take(self, destination: Destination, recipient: str) -> bool:
        """Begin a call. Return False when the tenant or the destination has its share already.

        A recipient with a full destination is remembered until a call of that destination ends.
        """
        tenant_id, _ = destination
        full = self._destinations[destination] >= self._of_destination
        if full or self._tenants[tenant_id] >= self._of_tenant:
            if full:
                self._remember(destination, recipient)
            return False

        self._tenants[tenant_id] += 1
        self._destinations[destination] += 1
        self._remember(destination, recipient)

        return True

    def give_back(self, destination: Destination) -> None:
        """End a call that was begun."""
        self._tenants -= Counter([destination[0]])
        self._destinations -= Counter([destination])
        if destination not in self._destinations:
            self._recipients.pop(destination, None)

    def full_tenants(self) -> list[int]:
        """Return the tenants that may begin no further call."""
        return [tenant_id for tenant_id, count in self._tenants.items() if count >= self._of_tenant]

    def full_recipients(self) -> list[tuple[int, str]]:
        """Return the known (tenant, recipient) pairs that may begin no further call."""
        return [
            (destination[0], recipient)
            for destination, count in self._destinations.items()
            if count >= self._of_destination
            for recipient in self._recipients[destination]
        ]

    def _remember(self, destination: Destination, recipient: str) -> None:
        known = self._recipients.setdefault(destination, set())
        if len(known) < MOST_REMEMBERED:
            known.add(recipient)


def destination_of(tenant_id: int, url: str) -> Destination:
    """Return the destination of a URL: its host, or its service.

    It is the service for a URL that has a token in place of a host.
    """
    scheme = scheme_of(url)
    service = SERVICES.get(scheme)
    if service is None:
        try:
            return tenant_id, (urlsplit(url).hostname or "").removesuffix(".")
        except ValueError:
            return tenant_id, ""
    return tenant_id, host_of(url) if service.self_hosted or service.host_in_url else scheme
