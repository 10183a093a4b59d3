import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.supervision import poison
from services.supervision.poison import MessageStrikes

A, B = poison.digest("alert/panic/a", b"{}"), poison.digest("alert/panic/b", b"{}")


def test_a_message_is_known_again_by_its_topic_and_its_bytes() -> None:
    assert poison.digest("alert/panic/a", b"{}") == A
    assert len({A, B, poison.digest("alert/panic/a", b"{ }"), poison.digest("alert/panic/", b"a{}")}) == 4
    assert len(poison.digest("alert/\udce9", b"")) == poison.DIGEST_BYTES


def test_strikes_are_counted_for_each_message_and_survive_as_bytes() -> None:
    strikes = MessageStrikes()
    assert [strikes.add(A), strikes.add(B), strikes.add(A)] == [1, 1, 2]
    again = MessageStrikes(strikes.table())
    assert (again.of(A), again.of(B), again.of(poison.digest("x", b"")), len(again)) == (2, 1, 0, 2)


def test_what_is_forgotten_has_no_strikes_and_others_keep_theirs() -> None:
    strikes = MessageStrikes()
    strikes.add(A)
    strikes.add(B)
    strikes.forget(B)
    strikes.forget(B)
    assert (strikes.of(A), strikes.of(B)) == (1, 0)


@given(st.lists(st.integers(0, 300), max_size=400))
def test_the_table_holds_the_newest_and_has_one_size(numbers: list[int]) -> None:
    strikes = MessageStrikes()
    for number in numbers:
        strikes.add(poison.digest(str(number), b""))
    table = strikes.table()
    assert len(table) == poison.REMEMBERED * poison.RECORD_BYTES
    again = MessageStrikes(table)
    newest = list(dict.fromkeys(reversed(numbers)))[: poison.REMEMBERED]
    assert all(again.of(poison.digest(str(number), b"")) for number in newest)
    assert len(again) == len(newest)


def test_strikes_do_not_overflow_their_byte() -> None:
    strikes = MessageStrikes()
    assert [strikes.add(A) for _ in range(300)][-1] == 255
    assert MessageStrikes(strikes.table()).of(A) == 255


def test_garbage_in_the_place_of_the_table_is_read_without_an_error() -> None:
    assert MessageStrikes(b"\xff" * 100).of(A) == 0
    assert len(MessageStrikes(b"\0" * 4096)) == 0


def test_a_redelivery_of_poison_is_the_same_message_and_another_sending_is_another() -> None:
    numbers = itertools.count()
    fresh = lambda: next(numbers).to_bytes(16, "big")  # noqa: E731
    assert poison.key(A, 7, fresh) == poison.key(A, 7, fresh)
    assert len({poison.key(A, 7, fresh), poison.key(A, 8, fresh), poison.key(B, 7, fresh)}) == 3
    # At QoS 0 nothing is delivered twice.
    assert poison.key(A, 0, fresh) != poison.key(A, 0, fresh)
