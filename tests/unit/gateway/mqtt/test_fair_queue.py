"""Tests that senders take turns. Each keeps its own order, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.fair_queue import LARGEST_COST_BYTES, QUANTUM_BYTES, FairQueue

Item = tuple[str, int, int]
ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200_000)), max_size=60)


def queue() -> FairQueue[Item]:
    return FairQueue(lambda item: item[0], lambda item: item[2])


def test_one_sender_with_many_messages_delays_another_by_one_message() -> None:
    # Given a sender with a hundred messages, and then one of another sender
    waiting = queue()
    for number in range(100):
        waiting.append(("flooder", number, 50))
    waiting.append(("guard", 0, 50))

    # When two are taken
    taken = [waiting.popleft()[0] for _ in range(2)]

    # Then the other one is among them
    assert "guard" in taken


def test_a_large_message_waits_for_as_many_turns_as_it_is_worth() -> None:
    waiting = queue()
    waiting.append(("photo", 0, 4 * QUANTUM_BYTES))
    for number in range(10):
        waiting.append(("guard", number, 10))
    order = [waiting.popleft()[0] for _ in range(11)]
    assert order.index("photo") == 3


@given(ITEMS, st.lists(st.booleans(), max_size=120))
def test_nothing_is_lost_and_each_sender_keeps_its_order(
    items: list[tuple[str, int]], takes: list[bool]
) -> None:
    # Given any items put in, with takes between them
    waiting, left, taken = queue(), [(*item, number) for number, item in enumerate(items)], []
    left.reverse()
    for take in takes:
        if take and len(waiting):
            taken.append(waiting.popleft())
        elif left:
            sender, size, number = left.pop()
            waiting.append((sender, number, size))

    # When the rest is put in and taken out
    for sender, size, number in reversed(left):
        waiting.append((sender, number, size))
    while len(waiting):
        taken.append(waiting.popleft())

    # Then all came out, each sender's in order
    assert sorted(number for _, number, _ in taken) == list(range(len(items)))
    for sender in "abc":
        mine = [number for name, number, _ in taken if name == sender]
        assert mine == sorted(mine)


@given(st.integers(1, 300), st.integers(0, 2_000_000))
def test_a_small_message_never_waits_for_more_than_one_of_each_other_sender(count: int, size: int) -> None:
    waiting = queue()
    for number in range(count):
        waiting.append((f"flooder {number % 7}", number, size))
    waiting.append(("guard", 0, 100))
    before = 0
    while waiting.popleft()[0] != "guard":
        before += 1
    assert before <= 7
    assert LARGEST_COST_BYTES // QUANTUM_BYTES < 100
