from services.contracts.events import Receipt, StoredEvent
from services.ingestion.transactional_outbox import Debt, Event, condition_events


def event(name: str) -> Event:
    return name, StoredEvent([Receipt(name, None, "stored", None)], 0, 0, 0)  # type: ignore[arg-type]


def test_what_was_owed_before_comes_first_in_its_order() -> None:
    debt = Debt([7], {5: event("b"), 3: event("a")})
    assert [name for name, _ in debt.earlier] == ["a", "b"]
    assert debt.ids == [3, 5, 7]


def test_a_part_of_a_batch_is_not_taken_for_something_earlier() -> None:
    debt = Debt()
    debt.add(Debt([4], {2: event("a")}))
    debt.add(Debt([6], {2: event("a"), 4: event("own")}))
    assert [name for name, _ in debt.earlier] == ["a"]
    assert debt.ids == [2, 4, 6]


def test_without_conditions_there_is_nothing_to_tell() -> None:
    assert condition_events([], []) == []
    assert Debt().ids == []
