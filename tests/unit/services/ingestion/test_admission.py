"""Tests of refusals as rows."""

from datetime import UTC, datetime

from services.contracts.errors import InvalidMessage
from services.contracts.families import Origin
from services.ingestion import admission

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def test_a_refusal_of_a_decoded_message_keeps_its_bytes_its_id_and_the_reason() -> None:
    origin = Origin("guard-1", b"k" * 16, "m", "guard/guard-1/gps", NOW, NOW, False, (), None, "{}")
    refused = admission.rejected(origin, InvalidMessage("unknown_source", "not registered"), tenant_id=3)
    assert (refused.payload, refused.source_id, refused.tenant_id) == (b"{}", "guard-1", 3)
    assert (refused.msg_id, refused.reason, refused.detail) == ("m", "unknown_source", "not registered")
