"""Tests of ids that a caller gives as text."""

from typing import Any
from uuid import UUID

import pytest

from services.contracts.errors import NotFound
from services.contracts.ids import as_alert_id


def test_an_alert_id_is_a_uuid() -> None:
    text = "8f6e3c1a-6e0f-4b63-9a57-0b7c2b9d5a11"
    assert as_alert_id(text) == UUID(text)


@pytest.mark.parametrize("wrong", ["", "x", "8f6e3c1a", None, 7, "\0"])
def test_no_alert_has_any_other_id(wrong: Any) -> None:
    with pytest.raises(NotFound, match="no alert"):
        as_alert_id(wrong)
