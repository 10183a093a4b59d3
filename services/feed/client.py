"""Checks of a reader of the feed, frame by frame. Pure.

`console/feed.js` does the same in the browser.

A frame is believed on three conditions. It was sealed for this tenant. Its clear facts are those
that were sealed. It comes after the frames read before. A snapshot may bear any id, so its time is
checked. A snapshot older than the frames read is a replay, and so are frames older than the
snapshot that they follow.

After a fault, an event of an alert may come again in a frame of its own: the alert and its `event`
are the same. Such a frame is believed, and is marked `repeated`. It says nothing new, and must not
call anybody a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.contracts.errors import InvalidMessage
from services.feed import encryption

CLEAR = frozenset({"connected", "heartbeat", "error", "ack", "metrics"})
"""Frames between a socket and its gateway: unsealed, and without a place in the feed."""
SNAPSHOT = "snapshot"
REMEMBERED = 10_000
"""Events of alerts that are remembered, the newest ones."""
CLOCKS_APART_S = 60
"""Largest difference of clocks in seconds: frames are sealed on several hosts."""


class FrameChecker:
    """Reader's checks for one tenant.

    `keys` returns the tenant's current keys by kid; None when the feed is not sealed. `since` is
    the place in the feed to resume from; None: there is none.
    """

    def __init__(
        self, tenant_id: int, *, keys: Callable[[], Mapping[str, str]] | None, since: int | None = None
    ) -> None:
        self._tenant_id = tenant_id
        self._keys = keys
        self.since = since
        self._newest_s = 0
        self._floor_s = 0
        self._wants_snapshot = since is None
        self._told: dict[tuple[str, int], None] = {}

    def take(self, text: str | bytes) -> dict[str, Any]:
        """Return the frame with its data in the clear.

        Raises:
            InvalidMessage: The frame is not to be believed. Begin again from a snapshot then.
        """
        try:
            frame = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidMessage("frame_unreadable", str(error)) from error

        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise InvalidMessage("frame_unreadable", "it is not an object with a type")
        if frame["type"] in CLEAR:
            return self._take_clear(frame)
        if self._wants_snapshot and frame["type"] != SNAPSHOT:
            raise InvalidMessage("frame_replayed", f"a {frame['type'][:50]} frame before the snapshot")

        after_id = -1 if frame["type"] == SNAPSHOT else self.since or 0
        if self._keys is not None:
            body = encryption.open_frame(
                text, keys=self._keys(), tenant_id=self._tenant_id, after_id=after_id
            )
            self._check_time(frame["type"], encryption.sealed_at_s(frame["data"]))
            frame["data"] = body.data
        elif type(frame.get("id")) is not int or frame["id"] <= after_id or frame.get("data") is None:
            raise InvalidMessage("frame_replayed", f"id {frame.get('id')!r} after {after_id}")

        self.since = frame["id"]
        self._wants_snapshot = False
        if self._was_told(frame["data"]):
            frame["repeated"] = True

        return frame

    def _was_told(self, data: Any) -> bool:
        """Note an event of an alert; return whether an earlier frame had reported it."""
        if not isinstance(data, dict) or not isinstance(data.get("event"), int):
            return False
        event = (str(data.get("id")), data["event"])
        if event in self._told:
            return True
        self._told[event] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        return False

    def _take_clear(self, frame: dict[str, Any]) -> dict[str, Any]:
        if "data" in frame or "id" in frame:
            raise InvalidMessage("frame_not_authentic", f"a {frame['type']} frame with data of the feed")
        if frame["type"] == "connected" and not frame.get("resumed"):
            self._wants_snapshot = True
        return frame

    def _check_time(self, kind: str, sealed_s: int) -> None:
        oldest_s = (self._newest_s - CLOCKS_APART_S) if kind == SNAPSHOT else self._floor_s
        if sealed_s < oldest_s:
            raise InvalidMessage(
                "frame_replayed", f"a {kind} frame from {oldest_s - sealed_s} s before its time"
            )
        self._newest_s = max(self._newest_s, sealed_s)
        if kind == SNAPSHOT:
            self._floor_s = sealed_s - CLOCKS_APART_S
