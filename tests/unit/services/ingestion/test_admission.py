"""Tests of refusals as rows and as receipts."""

from datetime import UTC, datetime

from services.contracts.errors import InvalidMessage
from services.contracts.events import Origin, Receipt, RejectedMessage
from services.ingestion import admission

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def test_a_refusal_has_a_receipt_with_its_reason_where_the_source_gave_an_id() -> None:
    origin = Origin("guard-1", b"k" * 16, "m", "guard/guard-1/gps", NOW, NOW, False, (), None, "{}")
    with_id = admission.rejected(origin, InvalidMessage("unknown_source", "not registered"))
    without_id = RejectedMessage(b"k" * 16, "t", b"", "no_fix", "", NOW, "guard-1")
    without_source = RejectedMessage(b"k" * 16, "t", b"", "bad_topic", "", NOW, None, msg_id="m")
    silent = RejectedMessage(b"k" * 16, "t", b"", "no_fix", "", NOW, "guard-1", msg_id="s", silent=True)

    assert admission.receipts_of([with_id, without_id, without_source, silent], now=NOW) == [
        Receipt("guard-1", "m", "refused", NOW, reason="unknown_source"),
        Receipt("guard-1", "s", "refused", NOW, silent=True, reason="no_fix"),
    ]
