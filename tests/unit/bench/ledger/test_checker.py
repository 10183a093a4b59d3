from collections.abc import Sequence

import pytest

from bench.ledger import checker
from bench.ledger.checker import LedgerBalance
from bench.ledger.messages import LedgerEntry


def ledger(count: int, *, refused: Sequence[int] = ()) -> list[LedgerEntry]:
    return [LedgerEntry("guard", "guard/1/gps", b"{}", f"r-{n}", n in refused, 1) for n in range(count)]


def test_a_ledger_balances_when_each_message_is_where_it_belongs_once() -> None:
    balance = checker.weigh(
        ledger(4, refused=[3]), stored={"r-0": 1, "r-1": 1}, refused={"r-3": 1}, dead={"r-2"}
    )
    assert balance == LedgerBalance(4, 2, 1, 1, 0, [], [], 0, [])
    assert balance.holds


def test_what_was_acknowledged_and_is_nowhere_is_lost() -> None:
    balance = checker.weigh(ledger(3), stored={"r-0": 1, "r-2": 1}, refused={}, dead=set())
    assert balance.missing == ["r-1"]
    assert not balance.holds


def test_what_was_never_acknowledged_and_is_nowhere_is_told_and_not_lost() -> None:
    balance = checker.weigh(
        ledger(3), stored={"r-0": 1, "r-2": 1}, refused={}, dead=set(), unacknowledged={"r-1", "r-2"}
    )
    assert (balance.unconfirmed, balance.missing) == (1, [])
    assert balance.holds


@pytest.mark.parametrize(
    ("stored", "refused", "dead"),
    [
        ({"r-0": 2}, {}, set()),
        ({"r-0": 1}, {"r-0": 1}, set()),
        ({"r-0": 1}, {}, {"r-0"}),
    ],
)
def test_what_is_there_twice_or_in_two_places_is_doubled(
    stored: dict[str, int], refused: dict[str, int], dead: set[str]
) -> None:
    balance = checker.weigh(ledger(1), stored=stored, refused=refused, dead=dead)
    assert (balance.duplicates, balance.doubled) == (1, ["r-0"])
    assert not balance.holds


def test_what_should_have_been_refused_and_was_stored_is_misjudged_and_so_is_the_reverse() -> None:
    balance = checker.weigh(ledger(2, refused=[0]), stored={"r-0": 1}, refused={"r-1": 1}, dead=set())
    assert balance.misjudged == ["r-0", "r-1"]
    assert not balance.holds


def test_only_the_first_lost_ones_are_named_and_the_balance_fails_all_the_same() -> None:
    balance = checker.weigh(ledger(100), stored={}, refused={}, dead=set())
    assert len(balance.missing) == checker.SHOWN
    assert not balance.holds


def of_topics(topics: str) -> list[LedgerEntry]:
    """Return a message for each letter, in this order. The letter is the message's topic."""
    return [
        LedgerEntry("guard", topic, b"{}", f"r-{number}", False, 1) for number, topic in enumerate(topics)
    ]


@pytest.mark.parametrize(
    ("topics", "transactions", "overtaken"),
    [
        ("aaa", [1, 2, 3], []),
        ("aaa", [1, 1, 1], []),
        ("aaa", [1, 3, 2], ["r-1"]),
        ("aaa", [3, 2, 1], ["r-0", "r-1"]),
        ("aaaa", [5, 1, 2, 3], ["r-0"]),
        ("abab", [4, 1, 5, 2], []),
        ("abab", [4, 2, 3, 1], ["r-0", "r-1"]),
    ],
)
def test_a_message_that_a_later_one_of_its_topic_went_before_is_overtaken(
    topics: str, transactions: list[int], overtaken: list[str]
) -> None:
    numbers = {f"r-{number}": at for number, at in enumerate(transactions)}
    assert checker.out_of_order(of_topics(topics), numbers) == overtaken


def test_what_was_not_stored_has_no_place_in_the_order() -> None:
    assert checker.out_of_order(of_topics("aaa"), {"r-0": 1, "r-2": 2}) == []
    assert checker.out_of_order(of_topics("aaa"), {"r-0": 3, "r-2": 2}) == ["r-0"]


def test_msg_ids_are_found_in_any_bytes_and_only_those_of_the_run() -> None:
    body = b'\x93\xa4r1-7\xff{"msg_id":"r1-12"} r12-3 xr1-'
    assert checker.ids_in(body, "r1") == ["r1-7", "r1-12"]
