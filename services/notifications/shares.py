"""Shares of the calls of a channel: no tenant and no destination has them all. Pure.

A destination that hangs keeps a call for as long as the deadline lets it. It has a few of these at most, its tenant a
part of all, and the calls of other tenants go on.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from services.apprise_urls import SERVICES, host_of, scheme_of

MOST_REMEMBERED = 1000

Destination = tuple[int, str]
"""(tenant, what its calls have in common: a host, or a service)."""


class Shares:
    """Calls under way by tenant and destination."""

    def __init__(self, *, of_tenant: int, of_destination: int) -> None:
        self._of_tenant = of_tenant
        self._of_destination = of_destination
        self._tenants: Counter[int] = Counter()
        self._destinations: Counter[Destination] = Counter()
        self._recipients: dict[Destination, set[str]] = {}

    def take(self, destination: Destination, recipient: str) -> bool:
        """Begin a call; False when the tenant or the destination has its share already.

        A recipient whose destination is full is remembered as such until a call of that destination ends.
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
        """The tenants for which no further call may begin."""
        return [tenant_id for tenant_id, count in self._tenants.items() if count >= self._of_tenant]

    def full_recipients(self) -> list[tuple[int, str]]:
        """(tenant, recipient) of those known for which no further call may begin."""
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
    """Return what calls to a URL share: the host, or the service where the URL has a token in place of a host."""
    scheme = scheme_of(url)
    service = SERVICES.get(scheme)
    if service is None:
        try:
            return tenant_id, (urlsplit(url).hostname or "").removesuffix(".")
        except ValueError:
            return tenant_id, ""
    return tenant_id, host_of(url) if service.self_hosted or service.host_in_url else scheme
