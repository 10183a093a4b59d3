from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.batch import AckOrder, Batcher, DeliveryBatch, MqttDelivery

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def delivery(mid: int, size: int = 10) -> MqttDelivery:
    return MqttDelivery("t", b"x" * size, 1, mid, NOW)


def batcher(**changes: float) -> Batcher:
    options = {"max_messages": 5, "max_bytes": 100, "max_age_s": 1.0, "light_messages": 2, "light_age_s": 0.1}
    return Batcher(**{**options, **changes})  # type: ignore[arg-type]


def test_a_batch_is_full_by_count() -> None:
    batch = batcher()
    assert [batch.add(delivery(n), now_s=0) for n in range(4)] == [None] * 4
    full = batch.add(delivery(4), now_s=0)
    assert full is not None
    assert [d.mid for d in full.deliveries] == [0, 1, 2, 3, 4]


def test_a_batch_is_full_by_bytes() -> None:
    assert batcher().add(delivery(1, size=100), now_s=0) is not None


def test_what_comes_alone_is_due_at_once() -> None:
    # Given no message that left within the last second
    alone = batcher()

    # When one message comes, and another one long after it
    for mid, now_s in ((1, 0.0), (2, 5.0)):
        alone.add(delivery(mid), now_s=now_s)

        # Then it is due, and nothing is left of it
        assert alone.due_s is not None
        assert alone.due_s <= now_s
        assert alone.due(now_s=now_s) is not None
        assert alone.due_s is None


def test_what_follows_soon_waits_for_the_light_age_and_what_fills_fast_for_the_full_one() -> None:
    # Given a batch that has just left
    light, filling = batcher(), batcher()
    for each in (light, filling):
        each.add(delivery(0), now_s=0)
        assert each.due(now_s=0) is not None

    # When a few messages follow
    light.add(delivery(1), now_s=0.01)
    light.add(delivery(2), now_s=0.09)

    # Then they go together, the light age after the batch before them
    assert light.due(now_s=0.09) is None
    assert light.due_s == 0.1
    due = light.due(now_s=0.1)
    assert due is not None
    assert [d.mid for d in due.deliveries] == [1, 2]

    # When many follow, then they wait for the full age
    for mid in range(1, 5):
        filling.add(delivery(mid), now_s=0.01)
    assert filling.due(now_s=0.99) is None
    assert filling.due(now_s=1.0) is not None
    assert filling.due(now_s=2.0) is None


def pause_of(batch: Batcher) -> float:
    """Return the seconds that a light batch waits behind the one before it."""
    batch.add(delivery(1), now_s=100)
    assert batch.due(now_s=100) is not None
    batch.add(delivery(2), now_s=100)
    assert batch.due_s is not None
    return batch.due_s - 100


def test_light_batches_wait_longer_when_batches_take_long_and_less_when_that_is_over() -> None:
    # Given batches that are confirmed within a moment
    quick = batcher()
    for _ in range(50):
        quick.took(0.001)
    assert pause_of(quick) == pytest.approx(0.1)

    # When they take long, then a light batch waits for five times as long, and never longer than a
    # filling one
    slow = batcher()
    for _ in range(50):
        slow.took(0.05)
    assert pause_of(slow) == pytest.approx(0.25, abs=0.01)
    stuck = batcher()
    for _ in range(50):
        stuck.took(3600)
    assert pause_of(stuck) == pytest.approx(1.0)

    # When that is over, then it is forgotten within some batches
    for _ in range(30):
        stuck.took(0.001)
    stuck.due(now_s=1e9)
    assert stuck._pause_s == pytest.approx(0.1)


def test_a_full_batch_puts_off_the_next_one() -> None:
    full = batcher()
    for mid in range(5):
        full.add(delivery(mid), now_s=0.5)
    full.add(delivery(5), now_s=0.51)
    assert full.due(now_s=0.52) is None
    assert full.due_s == pytest.approx(0.6)


def test_a_new_connection_lets_the_open_batch_go() -> None:
    batch = batcher()
    batch.add(delivery(1), now_s=0)
    batch.start_generation(2)
    assert batch.due(now_s=9) is None
    batch.add(delivery(1), now_s=9)
    due = batch.due(now_s=10)
    assert due is not None
    assert due.generation == 2


def test_senseless_limits_are_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match="at least one"):
        batcher(max_messages=0)
    with pytest.raises(ValueError, match="light_age_s"):
        batcher(light_age_s=2.0)


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 0.5)), max_size=60))
def test_batches_concatenate_to_their_input(steps: list[tuple[int, float]]) -> None:
    batch, now_s, out = batcher(), 0.0, []
    for mid, (size, wait_s) in enumerate(steps):
        now_s += wait_s
        out += [batch.due(now_s=now_s), batch.add(delivery(mid, size), now_s=now_s)]
    out.append(batch.due(now_s=now_s + 10))
    assert [d.mid for full in out if full for d in full.deliveries] == list(range(len(steps)))


@given(st.permutations(range(8)))
def test_acknowledgements_come_in_the_order_of_delivery(order: list[int]) -> None:
    acks, batches = AckOrder(), [DeliveryBatch(number, 1, []) for number in range(8)]
    for batch in batches:
        acks.sent(batch)
    assert acks.in_flight == 8
    done = [ready.number for number in order for ready in acks.confirmed(batches[number])]
    assert done == list(range(8))
    assert acks.in_flight == 0
