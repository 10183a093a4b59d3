"""Status of sources for websocket sessions, besides their readings: online, offline, back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from services.contracts.errors import Unavailable

FRAME_ITEMS = 500
"""Sources in one frame at most.

An outage of a whole tenant must not make a frame that is too large for sockets.
"""

State = Literal["online", "silent", "off_shift", "disabled"]


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one source.

    `kind`: guard, device, sensor, system. `since`: the beginning of the state. `last_at`: device
    time of the newest message. `off_shift` and `disabled`: the source was offline, and no message
    of it is expected any more.
    """

    source_id: str
    kind: str
    state: State
    since: datetime
    last_at: datetime | None = None
    lat: float | None = None
    lon: float | None = None


class StatusFeed(Protocol):
    def publish(self, tenant_id: int, type: str, data: Any) -> int: ...  # noqa: A002


class StatusPublisher:
    """The newest status by tenant and source that is still to be published.

    Their number is bounded by the number of sources. A websocket session that missed one gets it
    with its next snapshot.
    """

    def __init__(self) -> None:
        self._of_tenant: dict[int, dict[str, SourceStatus]] = {}

    def put(self, statuses: Iterable[tuple[int, SourceStatus]]) -> None:
        """Add statuses, each with its tenant."""
        for tenant_id, status in statuses:
            self._of_tenant.setdefault(tenant_id, {})[status.source_id] = status

    def show(self, feed: StatusFeed) -> None:
        """Publish the waiting statuses as `device_status` frames.

        Raises:
            Unavailable: The feed did not take a frame; the statuses not published wait on.
        """
        for tenant_id in list(self._of_tenant):
            waiting = list(self._of_tenant.pop(tenant_id).values())
            for start in range(0, len(waiting), FRAME_ITEMS):
                try:
                    feed.publish(tenant_id, "device_status", waiting[start : start + FRAME_ITEMS])
                except Unavailable:
                    self._put_back(tenant_id, waiting[start:])
                    raise

    def _put_back(self, tenant_id: int, statuses: Iterable[SourceStatus]) -> None:
        """Put statuses back. A newer status that came meanwhile takes precedence."""
        newer = self._of_tenant.setdefault(tenant_id, {})
        for status in statuses:
            newer.setdefault(status.source_id, status)


def in_words(seconds: float) -> str:
    """Return a duration as `40 s`, `5 min` or `2 h 10 min`: cut, not rounded."""
    minutes, left_s = divmod(max(int(seconds), 0), 60)
    if minutes < 2:
        return f"{minutes * 60 + left_s} s"
    hours, left_min = divmod(minutes, 60)
    return f"{hours} h {left_min} min" if hours else f"{minutes} min"
