"""Filter of the feed for `vigil watch`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.contracts.events import Severity

FROM_LOWEST = (Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
SNAPSHOT_LISTS = ("alerts", "positions", "devices")
SOURCE_FIELDS = ("source_id", "guard_id", "device_id")


class FrameFilter(NamedTuple):
    """Filter of frames; empty, it passes everything.

    `severity` is the lowest severity of an alert that passes. With it, only alerts pass.
    """

    types: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    severity: Severity | None = None

    def narrow(self, frame: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the frame reduced to the wanted items, or None when no item is left.

        The frames at the start of a feed pass for any source and severity. They are `connected`,
        and a snapshot with the items that are left of it.
        """
        if self.types and frame["type"] not in self.types:
            return None
        if frame["type"] == "connected" or not (self.sources or self.severity):
            return dict(frame)

        data = frame.get("data")
        if frame["type"] == "snapshot" and isinstance(data, Mapping):
            lists = {name: self._narrowed(data[name]) for name in SNAPSHOT_LISTS}
            return {**frame, "data": {**data, **lists}}

        narrowed = self._narrowed(data)
        return {**frame, "data": narrowed} if narrowed else None

    def _narrowed(self, data: Any) -> Any:
        if isinstance(data, list):
            return [item for item in data if self._wants(item)]
        return data if self._wants(data) else None

    def _wants(self, item: Any) -> bool:
        if not isinstance(item, Mapping):
            return False
        if self.sources and not self.sources.intersection(item.get(name) for name in SOURCE_FIELDS):
            return False
        return self.severity is None or is_at_least(item.get("severity"), self.severity)


def is_at_least(severity: object, least: Severity) -> bool:
    return severity in FROM_LOWEST[FROM_LOWEST.index(least) :]
