"""Tests of the time at which an alert was first shown.

It is noted once, published until the alert is known, and not for ever.
"""

from datetime import UTC, datetime

from gateway.noc.websocket.first_shown import REMEMBERED, TELLINGS, FirstShown

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_first_screen_counts_and_only_frames_that_show_an_alert() -> None:
    shown = FirstShown()
    shown.note(1, "critical_alert", 5, at=AT)
    shown.note(1, "critical_alert", 5, at=LATER)
    shown.note(1, "positions", 6, at=AT)
    shown.note(2, "alert_created", 5, at=LATER)
    assert shown.take() == {1: {5: AT}, 2: {5: LATER}}


def test_what_was_told_is_not_told_again_and_what_nobody_knew_is() -> None:
    shown = FirstShown()
    shown.note(1, "critical_alert", 5, at=AT)
    shown.note(1, "critical_alert", 6, at=AT)
    shown.settle(1, {5: AT, 6: AT}, unknown=[6])
    assert shown.take() == {1: {6: AT}}
    shown.settle(1, {6: AT}, unknown=[])
    assert shown.take() == {}


def test_a_frame_whose_alert_never_appears_is_given_up() -> None:
    shown = FirstShown()
    shown.note(1, "critical_alert", 5, at=AT)
    for _ in range(TELLINGS):
        shown.settle(1, {5: AT}, unknown=[5])
    assert shown.take() == {}


def test_what_is_remembered_is_bounded() -> None:
    shown = FirstShown()
    for frame_id in range(REMEMBERED + 10):
        shown.note(1, "critical_alert", frame_id, at=AT)
        shown.settle(1, {frame_id: AT}, unknown=[])
    assert len(shown._seen) == REMEMBERED
