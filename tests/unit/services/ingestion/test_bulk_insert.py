from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import DataError

from services.contracts.errors import InvalidMessage
from services.ingestion import bulk_insert


def test_arrays_have_the_text_form_of_the_manual() -> None:
    assert bulk_insert.array("float8", [1.5, None, -2e-7]) == "{1.5,NULL,-2e-07}"
    assert bulk_insert.array("bool", [True, False]) == "{t,f}"
    assert bulk_insert.array("text", ['a"b\\c', None, "NULL", "{,}"]) == '{"a\\"b\\\\c",NULL,"NULL","{,}"}'
    assert bulk_insert.array("uuid", [b"\x01" * 16]) == "{" + "01" * 16 + "}"
    assert (
        bulk_insert.array("timestamptz", [datetime(2026, 1, 2, tzinfo=UTC)]) == "{2026-01-02T00:00:00+00:00}"
    )


@pytest.mark.parametrize("bad", [set(), {3}, {0, 7}, set(range(8))])
def test_only_what_the_database_cannot_hold_is_refused(bad: set[int]) -> None:
    stored: list[int] = []
    refused: list[int] = []

    def store(part: list[int]) -> None:
        if bad & set(part):
            raise DataError("", {}, Exception("too many digits"))
        stored.extend(part)

    def refuse(item: int, error: InvalidMessage) -> None:
        assert error.reason == "unstorable"
        refused.append(item)

    bulk_insert.store_or_isolate(list(range(8)), store, refuse)
    assert sorted(stored) == [n for n in range(8) if n not in bad]
    assert sorted(refused) == sorted(bad)
