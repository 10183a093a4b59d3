import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.websocket.send_queue import SUPERSEDED, QueuedFrame, SendQueue

TYPES = ["critical_alert", "alert_updated", "positions", "device_status"]


def entry(number: int, kind: str) -> QueuedFrame:
    return QueuedFrame(kind, number, b"x")


def test_old_positions_make_room_for_an_alert() -> None:
    outbox = SendQueue(max_frames=2, max_bytes=100)
    assert outbox.put(entry(1, "positions"))
    assert outbox.put(entry(2, "positions"))
    assert outbox.put(entry(3, "critical_alert"))
    assert [outbox.take().id for _ in range(2)] == [2, 3]  # type: ignore[union-attr]
    assert outbox.take() is None
    assert outbox.dropped == 1


def test_an_outbox_full_of_alerts_says_that_the_socket_is_too_slow() -> None:
    outbox = SendQueue(max_frames=1, max_bytes=100)
    assert outbox.put(entry(1, "critical_alert"))
    assert not outbox.put(entry(2, "critical_alert"))
    assert outbox.put(entry(3, "positions"))
    assert len(outbox) == 1


def test_an_outbox_holds_at_least_one_frame() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SendQueue(max_frames=0, max_bytes=1)


def test_bytes_are_bounded_too_but_an_empty_outbox_takes_a_frame_of_any_size() -> None:
    outbox = SendQueue(max_frames=10, max_bytes=5)
    assert outbox.put(QueuedFrame("snapshot", None, b"x" * 100))
    assert not outbox.is_roomy
    assert not outbox.put(entry(1, "critical_alert"))
    outbox.take()
    assert outbox.is_roomy
    for number in range(1, 6):
        assert outbox.put(entry(number, "positions"))
    assert outbox.put(QueuedFrame("critical_alert", 6, b"xxxx"))
    assert [entry.id for entry in (outbox.take(), outbox.take()) if entry] == [5, 6]
    assert outbox.size_bytes == 0


@given(st.integers(1, 8), st.lists(st.sampled_from([*TYPES, "take"]), max_size=80))
def test_it_stays_bounded_keeps_order_and_every_alert_that_it_took(size: int, steps: list[str]) -> None:
    outbox, taken, alerts_in = SendQueue(max_frames=size, max_bytes=1000), [], []
    for number, step in enumerate(steps):
        if step == "take":
            got = outbox.take()
            taken += [got] if got else []
        elif outbox.put(entry(number, step)) and step not in SUPERSEDED:
            alerts_in.append(number)
        assert len(outbox) <= size
    while got := outbox.take():
        taken.append(got)
    ids = [got.id for got in taken]
    assert ids == sorted(ids, key=lambda number: number or 0)
    assert [got.id for got in taken if got.type not in SUPERSEDED] == alerts_in


def test_a_snapshot_of_any_size_follows_what_waits_and_leaves_room_for_alerts() -> None:
    outbox = SendQueue(max_frames=10, max_bytes=5)
    assert outbox.put(QueuedFrame("connected", None, b"xxxx"))
    outbox.begin(QueuedFrame("snapshot", None, b"x" * 100))
    assert outbox.put(entry(1, "critical_alert"))
    taken = [outbox.take() for _ in range(3)]
    assert [got.type for got in taken if got] == ["connected", "snapshot", "critical_alert"]
    assert outbox.size_bytes == 0
