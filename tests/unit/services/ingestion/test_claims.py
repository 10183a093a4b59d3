from datetime import UTC, datetime
from typing import Any

import pytest

from services.contracts.families import Origin
from services.ingestion.claims import objections

NOW = datetime.now(UTC)


def origin(claimed: Any = None) -> Origin:
    return Origin("guard-1", b"k" * 16, None, "guard/guard-1/gps", NOW, NOW, False, (), claimed, "{}")


@pytest.mark.parametrize(
    ("claimed", "known", "enabled", "reasons"),
    [
        (None, True, True, []),
        (1, True, True, []),
        ("1", True, True, []),
        (2, True, True, ["identity_mismatch"]),
        ("1 ", True, True, ["identity_mismatch"]),
        (None, True, False, ["source_disabled"]),
        (2, True, False, ["source_disabled", "identity_mismatch"]),
        (2, False, False, ["unknown_source"]),
    ],
)
def test_what_speaks_against_a_message(claimed: Any, known: bool, enabled: bool, reasons: list[str]) -> None:
    found = objections(origin(claimed), known=known, enabled=enabled, tenant_id=1)
    assert [objection.reason for objection in found] == reasons
    assert all("guard-1" in objection.detail for objection in found)
