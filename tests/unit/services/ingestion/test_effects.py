"""Tests of the effects of a batch: what is published, in which order, and what the outbox holds."""

from datetime import UTC, datetime
from typing import Any

from services.contracts.errors import Unavailable
from services.contracts.events import (
    AlertType,
    Condition,
    FeedPosition,
    Receipt,
    RejectedMessage,
    StoredEvent,
    ZoneMove,
)
from services.contracts.source_status import SourceStatus
from services.ingestion.effects import Effects, Event, condition_events, refusal_receipts

NOW = datetime(2026, 11, 29, tzinfo=UTC)
UNREAD = Unavailable("the zones cannot be read")


def event(name: str) -> Event:
    return name, StoredEvent([Receipt(name, None, "stored", NOW)], 0, 0, 0)


def condition(tenant_id: int, source_id: str) -> Condition:
    return Condition(tenant_id, source_id, AlertType.FIRE, f"FIRE:{source_id}", NOW, b"k" * 16, "burns")


def move(tenant_id: int, guard_id: str) -> ZoneMove:
    return ZoneMove(tenant_id, guard_id, "t", 1, 1, "Yard", NOW, NOW, 1.0, 2.0)


def filled() -> Effects:
    """Return effects with something in every field."""
    effects = Effects()
    effects.receipts = [Receipt("g1", "m1", "stored", NOW)]
    effects.rejected = [RejectedMessage(b"k" * 16, "t", b"", "no_fix", "", NOW, "g1", msg_id="m2")]
    effects.met = [condition(2, "g2"), condition(1, "g1")]
    effects.cleared = [condition(1, "g3")]
    effects.moves = {"zone_entered": [move(2, "g2"), move(1, "g1"), move(1, "g0")]}
    effects.positions = [(1, FeedPosition("g1", 1.0, 2.0, None, None, None, NOW, NOW, True, False))]
    effects.statuses = [(1, SourceStatus(source_id="g1", kind="guard", state="online", since=NOW))]
    effects.deferred = [event("later")]
    effects.failures = [UNREAD]
    effects.admitted, effects.stored, effects.off_shift, effects.violations_begun = 4, 3, 2, 1
    effects.has_more = True
    effects.note_outbox([7], {5: event("b"), 3: event("a")})
    return effects


def contents(effects: Effects) -> dict[str, Any]:
    return {name: value for name, value in vars(effects).items() if not name.startswith("_")}


def test_earlier_events_of_the_outbox_come_first_in_their_order() -> None:
    effects = Effects()
    effects.note_outbox([7], {5: event("b"), 3: event("a")})
    assert [name for name, _ in effects.earlier] == ["a", "b"]
    assert effects.outbox_ids == [3, 5, 7]


def test_rows_of_a_part_of_a_batch_are_not_earlier_events() -> None:
    # Given two transactions of a batch, where the second finds the row of the first,
    batch, first, second = Effects(), Effects(), Effects()
    first.note_outbox([4], {2: event("a")})
    second.note_outbox([6], {2: event("a"), 4: event("own")})
    # when both are added,
    batch.add(first)
    batch.add(second)
    # then only the row from before the batch is published again.
    assert [name for name, _ in batch.earlier] == ["a"]
    assert batch.outbox_ids == [2, 4, 6]


def test_every_field_of_a_part_is_added_to_the_batch() -> None:
    batch = Effects()
    batch.add(filled())
    assert contents(batch) == contents(filled())
    assert batch.outbox_ids == [3, 5, 7]
    batch.add(filled())
    for name, value in contents(filled()).items():
        found = contents(batch)[name]
        if isinstance(value, dict):
            assert found == {key: items * 2 for key, items in value.items()}, name
        elif name == "has_more":
            assert found is True
        else:
            assert found == value * 2, name


def test_events_are_published_in_order_and_receipts_come_last() -> None:
    effects = filled()
    effects.report_stored("positions_stored", now=NOW)
    assert [name for name, _ in effects.due] == [
        "a",
        "b",
        "zone_entered",
        "alert_condition_met",
        "alert_condition_cleared",
        "later",
        "positions_stored",
    ]
    [*_, (_, stored)] = effects.due
    assert stored == StoredEvent(
        receipts=[
            Receipt("g1", "m1", "stored", NOW),
            Receipt("g1", "m2", "refused", NOW, reason="no_fix"),
        ],
        stored=3,
        duplicates=1,
        rejected=1,
    )


def test_the_outbox_gets_an_event_for_each_tenant_with_the_sources_that_it_is_about() -> None:
    assert [(owing.tenant_id, owing.event, owing.about) for owing in filled().owings] == [
        (1, "zone_entered", ["g0", "g1"]),
        (2, "zone_entered", ["g2"]),
        (1, "alert_condition_met", ["g1"]),
        (1, "alert_condition_cleared", ["g3"]),
        (2, "alert_condition_met", ["g2"]),
    ]


def test_a_batch_without_effects_publishes_nothing() -> None:
    effects = Effects()
    effects.report_stored("telemetry_stored", now=NOW)
    assert condition_events([], []) == []
    assert (effects.due, effects.owings, effects.outbox_ids) == ([], [], [])


def test_a_refusal_has_a_receipt_with_its_reason_where_the_source_gave_an_id() -> None:
    with_id = RejectedMessage(b"k" * 16, "t", b"", "unknown_source", "", NOW, "guard-1", msg_id="m")
    without_id = RejectedMessage(b"k" * 16, "t", b"", "no_fix", "", NOW, "guard-1")
    without_source = RejectedMessage(b"k" * 16, "t", b"", "bad_topic", "", NOW, None, msg_id="m")
    silent = RejectedMessage(b"k" * 16, "t", b"", "no_fix", "", NOW, "guard-1", msg_id="s", silent=True)

    assert refusal_receipts([with_id, without_id, without_source, silent], now=NOW) == [
        Receipt("guard-1", "m", "refused", NOW, reason="unknown_source"),
        Receipt("guard-1", "s", "refused", NOW, silent=True, reason="no_fix"),
    ]
