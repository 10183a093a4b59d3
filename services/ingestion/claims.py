"""Objections to a message, by the registry's knowledge of its source. Pure.

The registry knows the sender. The payload only claims one.
"""

from __future__ import annotations

from services.contracts.errors import InvalidMessage
from services.contracts.families import Origin


def objections(origin: Origin, *, known: bool, enabled: bool, tenant_id: int | None) -> list[InvalidMessage]:
    """Return the reasons to refuse a message of this source, the weightiest first.

    An honest message has none. `tenant_id` is the registry's.
    """
    source_id = origin.source_id
    if not known:
        return [InvalidMessage("unknown_source", f"{source_id} is not registered, or not for such a topic")]

    found = []
    if not enabled:
        found.append(InvalidMessage("source_disabled", f"{source_id} is disabled"))

    claimed = origin.claimed_tenant_id
    if claimed is not None and str(claimed) != str(tenant_id):
        detail = f"{source_id} claims client {claimed!r}, which it does not belong to"
        found.append(InvalidMessage("identity_mismatch", detail))

    return found
