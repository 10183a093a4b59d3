"""Newest position of each guard, gathered between two frames of the feed. Pure."""

from __future__ import annotations

from services.contracts.events import FeedPosition
from services.contracts.families import Fix


def position_of(fix: Fix, *, in_geofence: bool, violation: bool) -> FeedPosition:
    return FeedPosition(
        guard_id=fix.origin.source_id,
        lat=fix.lat,
        lon=fix.lon,
        accuracy=fix.accuracy,
        speed=fix.speed,
        heading=fix.heading,
        recorded_at=fix.origin.recorded_at,
        received_at=fix.origin.received_at,
        in_geofence=in_geofence,
        geofence_violation=violation,
    )


class LatestPositions:
    """Newest position per tenant and guard since the last `take`.

    The number of guards bounds the size.
    """

    def __init__(self) -> None:
        self._of_tenant: dict[int, dict[str, FeedPosition]] = {}

    def put(self, tenant_id: int, position: FeedPosition) -> None:
        """Keep the position unless a newer one (by device time) is waiting."""
        guards = self._of_tenant.setdefault(tenant_id, {})
        known = guards.get(position.guard_id)
        if known is None or known.recorded_at <= position.recorded_at:
            guards[position.guard_id] = position

    def tenants(self) -> list[int]:
        return [tenant_id for tenant_id, guards in self._of_tenant.items() if guards]

    def take(self, tenant_id: int) -> list[FeedPosition]:
        """Remove and return the positions that wait for a tenant."""
        return list(self._of_tenant.pop(tenant_id, {}).values())

    def put_back(self, tenant_id: int, positions: list[FeedPosition]) -> None:
        """Keep positions that could not be sent. Newer ones that came meanwhile win."""
        for position in positions:
            guards = self._of_tenant.setdefault(tenant_id, {})
            guards.setdefault(position.guard_id, position)
