"""Tests that the status of sources reaches the feed once, newest first, and in bounded frames."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.contracts.errors import Unavailable
from services.contracts.source_status import FRAME_ITEMS, SourceStatus, StatusPublisher, in_words

NOW = datetime(2026, 3, 1, 22, tzinfo=UTC)


def status(source_id: str, state: Any = "online") -> SourceStatus:
    return SourceStatus(source_id=source_id, kind="device", state=state, since=NOW)


class Feed:
    """Frames that a feed took. After `takes` frames it does not answer."""

    def __init__(self, takes: int = 1_000) -> None:
        self.frames: list[tuple[int, str, list[SourceStatus]]] = []
        self.takes = takes

    def publish(self, tenant_id: int, type: str, data: Any) -> int:  # noqa: A002 - the feed's own name
        if len(self.frames) >= self.takes:
            raise Unavailable("Redis does not answer")
        self.frames.append((tenant_id, type, data))
        return len(self.frames)


def test_each_tenant_gets_the_newest_status_of_its_sources_once() -> None:
    publisher, feed = StatusPublisher(), Feed()
    publisher.put([(1, status("a")), (2, status("b")), (1, status("a", "silent"))])

    publisher.show(feed)
    publisher.show(feed)

    assert feed.frames == [
        (1, "device_status", [status("a", "silent")]),
        (2, "device_status", [status("b")]),
    ]


def test_many_statuses_are_cut_into_frames() -> None:
    publisher, feed = StatusPublisher(), Feed()
    publisher.put((1, status(f"s-{n}")) for n in range(FRAME_ITEMS + 1))
    publisher.show(feed)
    assert [len(data) for _, _, data in feed.frames] == [FRAME_ITEMS, 1]


def test_what_the_feed_did_not_take_waits_and_gives_way_to_what_is_newer() -> None:
    # Given a feed that takes one frame of two
    publisher, feed = StatusPublisher(), Feed(takes=1)
    publisher.put((1, status(f"s-{n}")) for n in range(FRAME_ITEMS + 2))
    with pytest.raises(Unavailable):
        publisher.show(feed)

    # When a newer status of one of those that wait comes, and the feed is back
    publisher.put([(1, status(f"s-{FRAME_ITEMS}", "silent"))])
    feed.takes = 10
    publisher.show(feed)

    # Then the newer one is published, with the other one that waited
    assert {(s.source_id, s.state) for s in feed.frames[1][2]} == {
        (f"s-{FRAME_ITEMS}", "silent"),
        (f"s-{FRAME_ITEMS + 1}", "online"),
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (40.9, "40 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_duration_is_cut_to_a_few_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
