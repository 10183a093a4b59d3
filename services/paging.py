"""How much a list may give at once. Pure."""

from __future__ import annotations

from services.errors import Refused


def check_limit(limit: object, *, most: int) -> int:
    """The limit when it is a number from 1 to `most`. Raises `Refused`."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
        raise Refused(f"limit must be a number from 1 to {most}")
    return limit


def check_tenant(tenant_id: object) -> int:
    """The tenant that a list is of; no service answers without one. Raises `Refused`."""
    if not isinstance(tenant_id, int) or isinstance(tenant_id, bool) or not 0 <= tenant_id < 2**31:
        raise Refused("tenant_id must be the number of a tenant")
    return tenant_id
