"""Tests of the differences of a schema, in sentences that name table and column."""

import pytest

from services.platform.schema.differences import differences, in_words, of_tables
from services.platform.schema.expected import FILE, as_file, expected

WANTED = {
    "table guard_state": "table, row security",
    "column guard_state.belief": "bytea",
    "column guard_state.speeding_told": "integer[], not null, default",
    "constraint guard_state.guard_state_pkey": "primary key (guard_id)",
    "policy guard_state.vigil_ingest": "all to vigil_ingest",
    "trigger guard_state.told": "calls vigil_tell",
    "index guard_state_settles": "on guard_state (settles_at) partial",
    "table zone": "table, row security",
    "column zone.name": "text, not null",
    "index zone_name": "on zone (name) unique",
    "function vigil_tell()": "body 0123456789ab",
}


def without(*names: str) -> dict[str, str]:
    return {what: shape for what, shape in WANTED.items() if what not in names}


def test_the_same_schema_has_no_difference_and_neither_has_one_with_more_in_it() -> None:
    assert differences(WANTED, WANTED) == []
    assert differences(WANTED, {**WANTED, "column zone.colour": "text", "table extra": "table"}) == []


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("column guard_state.speeding_told", "table guard_state: column speeding_told is missing"),
        (
            "constraint guard_state.guard_state_pkey",
            "table guard_state: constraint guard_state_pkey is missing",
        ),
        ("policy guard_state.vigil_ingest", "table guard_state: policy vigil_ingest is missing"),
        ("trigger guard_state.told", "table guard_state: trigger told is missing"),
        ("index guard_state_settles", "index guard_state_settles is missing"),
        ("function vigil_tell()", "function vigil_tell() is missing"),
    ],
)
def test_what_is_missing_is_named_with_its_table(what: str, sentence: str) -> None:
    assert [str(one) for one in differences(WANTED, without(what))] == [sentence]


def test_another_shape_is_named_with_both() -> None:
    [found] = differences(WANTED, {**WANTED, "column guard_state.belief": "text"})
    assert str(found) == "table guard_state: column belief is `text`, not `bytea`"


def test_of_a_missing_table_only_the_table_is_named() -> None:
    found = differences(WANTED, {w: s for w, s in WANTED.items() if "zone" not in w})
    assert [str(one) for one in found] == ["table zone is missing"]


def test_tables_and_columns_come_first_and_the_rest_is_counted() -> None:
    found = differences(WANTED, {})
    assert [str(one) for one in found] == [
        "table guard_state is missing",
        "table zone is missing",
        "function vigil_tell() is missing",
    ]
    assert in_words(found).endswith(
        "function vigil_tell() is missing; run `vigil migrate up`; `vigil migrate check` lists all of it"
    )
    empty = {"table guard_state": "table, row security", "table zone": "table, row security"}
    assert "and 6 more; run" in in_words(differences(WANTED, empty))


def test_a_process_hears_of_its_own_tables() -> None:
    found = differences(
        WANTED, without("column zone.name", "column guard_state.belief", "function vigil_tell()")
    )
    assert [one.what for one in of_tables(found, frozenset({"zone"}))] == ["column zone.name"]


def test_the_file_is_in_the_form_that_describe_writes() -> None:
    assert FILE.read_text() == as_file(expected())
    assert len(expected()) > 500
