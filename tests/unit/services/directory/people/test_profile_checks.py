"""Tests of profiles: what is refused, and what Vigil itself writes into an entry."""

from datetime import date, timedelta
from typing import Any

import pytest

from services.contracts.errors import Refused
from services.contracts.people import DeviceProfile, GuardProfile, SiteProfile
from services.directory.people.profile_checks import changed, differences, marked_wrong

TODAY = date(2026, 6, 1)
FIRST, SECOND = "+919876543210", "+919876543211"


def guard(**changes: Any) -> GuardProfile:
    return changed(GuardProfile(), changes, by="Ann", today=TODAY)


def test_a_change_sets_its_fields_and_leaves_the_others() -> None:
    before = guard(call_sign="Kilo 7", telephones=[{"number": FIRST}])
    after = changed(before, {"languages": ["en", "hi"]}, by="Bob", today=TODAY)
    assert (after.call_sign, after.languages) == ("Kilo 7", ["en", "hi"])
    assert differences(before, after) == ({"languages": []}, {"languages": ["en", "hi"]})


def test_the_order_of_a_call_list_stays() -> None:
    names = ["Zoe", "Asha", "Mia"]
    listed = [{"name": name, "number": f"+91987654321{n}"} for n, name in enumerate(names)]
    site = changed(SiteProfile(), {"call_list": listed}, by="Ann", today=TODAY)
    assert [callee.name for callee in site.call_list] == names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"telephones": [{"number": "98765"}]}, r"telephones\.0\.number: .*E\.164"),
        ({"telephones": [{"number": FIRST}, {"number": "+910987654321"}]}, r"telephones\.1\.number"),
        ({"telephones": [{"number": FIRST}, {"number": FIRST}]}, "twice"),
        ({"telephones": [{"number": FIRST, "verified_on": "2026-06-03"}]}, "to today"),
        ({"telephones": [{"number": FIRST, "verified_on": "1999-12-31"}]}, "from 2000-01-01"),
        ({"languages": ["English"]}, "not a language tag"),
        ({"languages": ["en", "EN"]}, "not a language tag"),
        ({"skills": [{"name": "first aid"}, {"name": "First Aid"}]}, "twice"),
        ({"skills": [{"name": " "}]}, "blank"),
        ({"emergency_contact": {"name": "Ravi", "number": "112"}}, r"emergency_contact\.number"),
        ({"telephones": [{"number": FIRST, "colour": "red"}]}, "colour"),
    ],
)
def test_a_wrong_value_of_a_guard_is_refused_by_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        guard(**changes)


def test_a_refusal_does_not_repeat_the_number() -> None:
    with pytest.raises(Refused) as refusal:
        guard(telephones=[{"number": "+915550001234567"}])
    assert "5550001234567" not in str(refusal.value)


def test_police_and_fire_brigade_may_have_a_short_number() -> None:
    site = changed(SiteProfile(), {"police": {"number": "112", "reference": "K-19"}}, by="Ann", today=TODAY)
    assert site.police is not None
    assert (site.police.number, site.police.reference) == ("112", "K-19")


@pytest.mark.parametrize("url", ["http://cam/1", "https://user:secret@cam/1", "javascript:alert(1)", "cam"])
def test_a_camera_link_is_safe_and_holds_no_password(url: str) -> None:
    with pytest.raises(Refused, match="camera_url"):
        changed(DeviceProfile(), {"camera_url": url}, by="Ann", today=TODAY)


def test_who_verified_an_entry_is_written_by_vigil_and_stays() -> None:
    forged = {"number": FIRST, "verified_on": "2026-05-01", "verified_by": "the director"}
    before = guard(telephones=[forged])
    assert before.telephones[0].verified_by == "Ann"
    swapped = [{"number": SECOND}, {"number": FIRST, "verified_on": "2026-05-01"}]
    after = changed(before, {"telephones": swapped}, by="Bob", today=TODAY)
    assert [entry.verified_by for entry in after.telephones] == [None, "Ann"]
    again = [{"number": FIRST, "verified_on": "2026-05-31"}]
    assert changed(after, {"telephones": again}, by="Bob", today=TODAY).telephones[0].verified_by == "Bob"


def test_a_wrong_number_stays_marked_until_it_is_verified_or_replaced() -> None:
    before = guard(telephones=[{"number": FIRST, "verified_on": "2026-05-01"}])
    marked = marked_wrong(before, "telephones.0", by="Olga", today=TODAY)
    assert (marked.telephones[0].wrong_on, marked.telephones[0].wrong_by) == (TODAY, "Olga")
    assert marked_wrong(marked, "telephones.0", by="Bob", today=TODAY + timedelta(days=9)) == marked

    # A person who edits another field, or sends the entry back without the mark, does not end it.
    edited = changed(
        marked, {"telephones": [{"number": FIRST, "verified_on": "2026-05-01"}]}, by="Bob", today=TODAY
    )
    assert edited.telephones[0].wrong_on == TODAY
    verified = [{"number": FIRST, "verified_on": "2026-06-01"}]
    assert changed(marked, {"telephones": verified}, by="Bob", today=TODAY).telephones[0].wrong_on is None
    assert (
        changed(marked, {"telephones": [{"number": SECOND}]}, by="B", today=TODAY).telephones[0].wrong_on
        is None
    )


def test_an_entry_that_is_not_there_cannot_be_marked() -> None:
    with pytest.raises(Refused, match="no entry"):
        marked_wrong(guard(), "telephones.0", by="Olga", today=TODAY)
