"""What screens are told of sources besides their readings: who came online, who fell silent, who is back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from services.errors import Unavailable

FRAME_ITEMS = 500
"""So many sources a frame: an outage of a whole tenant must not make one that sockets choke on."""

State = Literal["online", "silent", "off_shift", "disabled"]


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: guard, device, sensor, system. `since`: of the state; `last_at`: device time of the newest message.

    `off_shift` and `disabled`: was silent, and nobody expects to hear of it any more.
    """

    source_id: str
    kind: str
    state: State
    since: datetime
    last_at: datetime | None = None
    lat: float | None = None
    lon: float | None = None


class Writes(Protocol):
    def publish(self, tenant_id: int, type: str, data: Any) -> int: ...  # noqa: A002


class Statuses:
    """The newest status per tenant and source that is still to be shown; bounded by the number of sources.

    A screen that missed one has it from its next snapshot.
    """

    def __init__(self) -> None:
        self._of_tenant: dict[int, dict[str, SourceStatus]] = {}

    def put(self, statuses: Iterable[tuple[int, SourceStatus]]) -> None:
        """Each with its tenant."""
        for tenant_id, status in statuses:
            self._of_tenant.setdefault(tenant_id, {})[status.source_id] = status

    def show(self, feed: Writes) -> None:
        """Frames `device_status` of what waits. Raises `Unavailable`; what was not shown waits on."""
        for tenant_id in list(self._of_tenant):
            waiting = list(self._of_tenant.pop(tenant_id).values())
            for start in range(0, len(waiting), FRAME_ITEMS):
                try:
                    feed.publish(tenant_id, "device_status", waiting[start : start + FRAME_ITEMS])
                except Unavailable:
                    self._put_back(tenant_id, waiting[start:])
                    raise

    def _put_back(self, tenant_id: int, statuses: Iterable[SourceStatus]) -> None:
        """Newer ones that came meanwhile win."""
        newer = self._of_tenant.setdefault(tenant_id, {})
        for status in statuses:
            newer.setdefault(status.source_id, status)


def in_words(seconds: float) -> str:
    """`40 s`, `5 min`, `2 h 10 min`: cut, not rounded."""
    minutes, left_s = divmod(max(int(seconds), 0), 60)
    if minutes < 2:
        return f"{minutes * 60 + left_s} s"
    hours, left_min = divmod(minutes, 60)
    return f"{hours} h {left_min} min" if hours else f"{minutes} min"
