"""Tests of profiles from CSV files."""

from typing import Any

import pytest

from ops.sources import profiles_csv
from ops.sources.profiles_csv import Kind, changes_of, hours_of, lines_of, read
from services.contracts.errors import Refused


def lines(text: str, kind: Kind) -> list[tuple[int, str, dict[str, Any], str]]:
    return [(n, s, dict(c), r) for n, s, c, r in lines_of(read(text.encode(), kind), kind)]


def test_a_line_of_a_guard_sets_what_its_cells_say() -> None:
    text = (
        "id;call_sign;telephone_1;telephone_2;skills;languages;verified_on\n"
        "guard-7;Kilo 7;+91 98765-43210;;first aid=2027-05-01;en;2026-05-01\n"
    )
    assert lines(text, "guard") == [
        (
            2,
            "guard-7",
            {
                "call_sign": "Kilo 7",
                "telephones": [{"number": "+919876543210", "verified_on": "2026-05-01"}],
                "skills": [{"name": "first aid", "expires_on": "2027-05-01"}],
                "languages": ["en"],
            },
            "",
        )
    ]


def test_a_line_with_too_many_cells_is_refused_by_its_number() -> None:
    [(number, _, changes, reason)] = lines("id,call_sign\nguard-7,Kilo,7\n", "guard")
    assert (number, changes) == (2, {})
    assert "3 cells" in reason


def test_a_line_of_a_site_keeps_the_order_of_its_call_list() -> None:
    cells = {
        "address": "12 Mill Road",
        "callee_1_name": "Zoe",
        "callee_1_telephone": "+919876543210",
        "callee_1_key": "yes",
        "callee_1_hours": "fri-mon 18:00-06:00",
        "callee_2_name": "Asha",
        "callee_2_telephone": "+919876543211",
        "police_telephone": "112",
        "hazards": "dog; open pit",
    }
    changes = changes_of(cells, "site")
    assert [callee["name"] for callee in changes["call_list"]] == ["Zoe", "Asha"]
    assert changes["call_list"][0]["holds_key"] is True
    assert changes["call_list"][0]["hours"] == [
        {"days": ["fri", "sat", "sun", "mon"], "since": "18:00", "until": "06:00"}
    ]
    assert changes["police"] == {"number": "112", "reference": ""}
    assert changes["hazards"] == ["dog", "open pit"]


def test_a_blank_cell_leaves_its_field() -> None:
    assert changes_of({"call_sign": "", "telephone_1": "", "post": "Gate"}, "guard") == {"post": "Gate"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"callee_1_name": "Zoe"}, "callee_1_telephone is blank"),
        ({"callee_1_name": "Z", "callee_1_telephone": "1", "callee_1_key": "perhaps"}, "callee_1_key"),
        ({"police_reference": "K-19"}, "police_telephone is blank"),
    ],
)
def test_half_an_entry_is_refused(cells: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        changes_of(cells, "site")


@pytest.mark.parametrize("text", ["always", "mon 8-18", "mon-xyz 08:00-18:00", "mon-fri"])
def test_hours_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="hours"):
        hours_of(text)


def test_a_line_without_a_subject_is_refused() -> None:
    assert lines("id,call_sign\n,Kilo\n", "guard") == [(2, "", {}, "id is blank")]


def test_every_plain_and_list_field_is_a_column() -> None:
    for kind, columns in profiles_csv.COLUMNS.items():
        assert set(profiles_csv.PLAIN[kind]) | set(profiles_csv.LISTS[kind]) <= set(columns)
