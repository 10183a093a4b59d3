"""Tests of the operations about profiles: who may change them, who may read them."""

from gateway.noc.api.operations.people import PEOPLE
from services.contracts.api import Id


def test_profiles_are_changed_by_supervisors_and_signed() -> None:
    changing = [o for o in PEOPLE if o.method != "GET" and "/profile" in o.path]
    assert len(changing) == 3
    assert {(o.role, o.signed) for o in changing} == {("supervisor", True)}
    pictures = [o for o in PEOPLE if o.method in ("PUT", "DELETE")]
    assert {(o.role, o.signed) for o in pictures} == {("supervisor", True)}


def test_every_answer_with_a_profile_depends_on_the_role() -> None:
    assert all(o.ranked for o in PEOPLE if o.path.endswith("/profile"))


def test_changes_hold_numbers_and_are_for_supervisors() -> None:
    assert {o.role for o in PEOPLE if o.path.endswith("/changes")} == {"supervisor"}


def test_a_site_in_a_path_is_its_number() -> None:
    assert all(o.types == {"site_id": Id} for o in PEOPLE if "{site_id}" in o.path)
