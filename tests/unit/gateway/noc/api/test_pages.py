"""Tests that cursors are opaque, and that only our own are accepted."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.api import pages
from services.contracts.errors import Refused

NAMES = ("received_at", "id")


def test_a_cursor_leads_back_to_the_place_it_was_made_of() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    cursor = pages.cursor_of({"received_at": at, "id": "a1", "more": 3}, NAMES)
    assert pages.place_of(cursor, NAMES) == ["2026-03-01T12:00:00.123456Z", "a1"]


@given(
    st.one_of(
        st.text(max_size=60), st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode())
    )
)
def test_any_other_word_is_refused_and_nothing_else_is_raised(word: str) -> None:
    try:
        place = pages.place_of(word, NAMES)
    except Refused as error:
        assert "Link header" in str(error)
    else:
        assert len(place) == len(NAMES)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(Refused):
        pages.place_of(pages.cursor_of({"guard_id": "g"}, ["guard_id"]), NAMES)


def test_the_link_keeps_the_question() -> None:
    link = pages.link_to("/api/v1/alerts", {"status": "all", "limit": "2"}, "abc")
    assert link == '</api/v1/alerts?status=all&limit=2&cursor=abc>; rel="next"'
