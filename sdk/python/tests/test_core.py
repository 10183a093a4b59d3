"""Sends of the outbox, without clock, chance or wire."""

from __future__ import annotations

from vigil_device.core import Core
from vigil_device.messages import Kind, Message, Receipt
from vigil_device.policy import DAY_S, Policy


class Bench:
    """Core with a clock that the test moves. `chance` sets the length of every back-off."""

    def __init__(self, policy: Policy = Policy(), *, chance: float = 1.0) -> None:  # noqa: B008 - immutable
        self.core = Core(policy, chance=lambda: chance)
        self.now_s = 0.0
        self.count = 0

    def add(self, kind: Kind = Kind.POSITION, *, born_s: float = 0.0) -> str:
        self.count += 1
        message = Message(self.count, f"m{self.count}", kind, "topic", b"{}", False, born_s)
        self.core.add(message)
        return message.msg_id

    def due(self) -> list[str]:
        return [message.msg_id for message in self.core.due(self.now_s).sends]

    def stored(self, msg_id: str) -> Message | None:
        return self.core.receipt(Receipt(msg_id, "stored"), self.now_s)

    def until_due(self, *, at_most_s: float = 10_000.0) -> list[str]:
        """Move the clock on to the next send."""
        end_s = self.now_s + at_most_s
        while (wake_s := self.core.wake_at_s(self.now_s)) is not None and wake_s <= end_s:
            self.now_s = max(self.now_s, wake_s)
            if sends := self.due():
                return sends
        return []


def test_alerts_are_sent_before_positions_and_each_kind_in_its_order() -> None:
    bench = Bench()
    first, alert, second, other = (
        bench.add(),
        bench.add(Kind.ALERT),
        bench.add(Kind.READING),
        bench.add(Kind.ALERT),
    )
    bench.core.connected(0.0)

    assert bench.due() == [alert, other, first, second]
    assert bench.due() == []


def test_nothing_is_sent_without_a_connection() -> None:
    bench = Bench()
    bench.add(Kind.ALERT)

    assert bench.due() == []
    assert bench.core.wake_at_s(0.0) is None


def test_a_receipt_ends_a_message_and_makes_room_in_the_window() -> None:
    bench = Bench(Policy(window=2))
    one, two, three = bench.add(), bench.add(), bench.add()
    bench.core.connected(0.0)
    assert bench.due() == [one, two]
    assert bench.core.wake_at_s(0.0) == 15.0 + 15.0

    assert bench.stored(one) is not None
    assert bench.stored(one) is None

    assert bench.due() == [three]


def test_an_alert_waits_for_no_window() -> None:
    bench = Bench(Policy(window=1))
    bench.add()
    bench.add()
    bench.core.connected(0.0)
    bench.due()

    alerts = [bench.add(Kind.ALERT) for _ in range(50)]

    assert bench.due() == alerts


def test_the_wait_for_a_receipt_doubles_up_to_its_cap() -> None:
    bench = Bench()
    alert = bench.add(Kind.ALERT)
    bench.core.connected(0.0)
    bench.due()
    waits = []
    for _ in range(7):
        before_s = bench.now_s
        assert bench.until_due() == [alert]
        waits.append(bench.now_s - before_s)

    assert waits == [10, 15, 25, 45, 65, 65, 65]


def test_the_jitter_is_full_and_never_shorter_than_the_wait() -> None:
    bench = Bench(chance=0.0)
    bench.add(Kind.ALERT)
    bench.core.connected(0.0)
    bench.due()

    assert bench.core.wake_at_s(0.0) == 5.0


def test_what_the_broker_never_took_is_due_when_the_connection_is_back() -> None:
    bench = Bench()
    taken, lost = bench.add(), bench.add()
    bench.core.connected(0.0)
    bench.due()
    assert bench.core.taken(taken) is not None
    assert bench.core.taken(taken) is None
    bench.core.disconnected()

    bench.now_s = 1.0
    bench.core.connected(1.0)

    assert bench.due() == [lost]


def test_while_vigil_is_away_only_one_position_is_sent_again_as_a_probe() -> None:
    bench = Bench()
    sent = [bench.add() for _ in range(20)]
    bench.core.connected(0.0)
    bench.due()
    for msg_id in sent:
        bench.core.taken(msg_id)

    again = []
    while sends := bench.until_due(at_most_s=600.0 - bench.now_s):
        again += sends

    assert set(again) == {sent[0]}
    assert len(again) <= 12


def test_while_vigil_is_away_alerts_are_sent_again() -> None:
    bench = Bench()
    position, alert = bench.add(), bench.add(Kind.ALERT)
    bench.core.connected(0.0)
    bench.due()
    for msg_id in (position, alert):
        bench.core.taken(msg_id)

    again = []
    while sends := bench.until_due(at_most_s=120.0 - bench.now_s):
        again += sends

    assert again.count(alert) >= 4


def test_after_the_first_receipt_the_others_get_one_more_wait_and_are_then_sent_again() -> None:
    bench = Bench(chance=0.5)
    sent = [bench.add() for _ in range(3)]
    alert = bench.add(Kind.ALERT)
    bench.core.connected(0.0)
    bench.due()
    for msg_id in (*sent, alert):
        bench.core.taken(msg_id)
    bench.now_s = 300.0

    bench.stored(sent[1])

    assert bench.until_due() == [alert]
    assert bench.now_s == 302.5
    bench.stored(alert)
    again = [*bench.until_due(), *bench.until_due(at_most_s=0.0)]
    assert again == [sent[0], sent[2]]
    assert bench.now_s == 322.5


def test_a_position_that_only_others_get_receipts_for_is_given_up_and_an_alert_is_not() -> None:
    bench = Bench(Policy(window=1))
    bad, alert = bench.add(), bench.add(Kind.ALERT)
    bench.core.connected(0.0)
    bench.due()
    bench.core.taken(bad)
    given_up = []
    sends = {bad: 1, alert: 1}
    for _ in range(2_000):
        bench.now_s += 5.0
        due = bench.core.due(bench.now_s)
        given_up += [(message.msg_id, reason) for message, reason in due.given_up]
        for message in due.sends:
            sends[message.msg_id] = sends.get(message.msg_id, 0) + 1
        bench.core.receipt(Receipt("of-another", "stored"), bench.now_s)

    assert given_up == [(bad, "no receipt")]
    assert sends[bad] <= 1 + Policy().max_passed
    assert sends[alert] > 30
    assert [message.msg_id for message in bench.core.messages()] == [alert]


def test_a_position_that_gets_no_receipt_does_not_hold_the_window_for_ever() -> None:
    bench = Bench(Policy(window=1))
    bench.add()
    later = bench.add()
    bench.core.connected(0.0)
    bench.due()
    bench.core.taken("m1")
    for _ in range(60):
        bench.now_s += 5.0
        bench.core.receipt(Receipt("of-another", "stored"), bench.now_s)
        if later in bench.due():
            break

    assert bench.now_s < 200


def test_a_late_receipt_of_what_left_the_window_makes_no_second_place_in_it() -> None:
    bench = Bench(Policy(window=1))
    first = bench.add()
    bench.core.connected(0.0)
    bench.due()
    bench.core.taken(first)
    later = [bench.add() for _ in range(3)]
    while later[0] not in bench.due():
        bench.now_s += 5.0
        bench.core.receipt(Receipt("of-another", "stored"), bench.now_s)

    assert bench.stored(first) is not None

    assert later[1] not in bench.due()
    assert bench.stored(later[0]) is not None
    assert bench.due() == [later[1]]


def test_an_alert_is_given_up_after_seven_days_and_not_before() -> None:
    bench = Bench()
    alert = bench.add(Kind.ALERT, born_s=0.0)
    bench.core.connected(0.0)
    sends = 0
    while bench.now_s < 7 * DAY_S - 400:
        sends += len(bench.until_due())
        assert len(bench.core) == 1

    bench.now_s += 1_000
    due = bench.core.due(bench.now_s)

    assert [(message.msg_id, reason) for message, reason in due.given_up] == [(alert, "too old")]
    assert sends < 2_100


def test_the_oldest_position_goes_first_then_the_oldest_reading_and_an_alert_never() -> None:
    core = Core(Policy(max_messages=3), chance=lambda: 0.0)
    kinds = [Kind.ALERT, Kind.READING, Kind.POSITION, Kind.POSITION, Kind.ALERT, Kind.ALERT, Kind.ALERT]
    dropped = [
        [gone.number for gone in core.add(Message(number, f"m{number}", kind, "t", b""))]
        for number, kind in enumerate(kinds)
    ]

    assert dropped == [[], [], [], [2], [3], [1], []]
    assert {message.number for message in core.messages()} == {0, 4, 5, 6}
    assert core.add(Message(8, "m8", Kind.POSITION, "t", b""))[0].number == 8


def test_alerts_that_are_on_their_way_are_not_dropped_either() -> None:
    bench = Bench(Policy(max_messages=3))
    alerts = [bench.add(Kind.ALERT) for _ in range(3)]
    bench.core.connected(0.0)
    assert bench.due() == alerts

    alerts.append(bench.add(Kind.ALERT))

    assert [message.msg_id for message in bench.core.messages()] == [alerts[3], *alerts[:3]]


def test_a_refusal_ends_a_message_and_a_rate_limit_does_not() -> None:
    bench = Bench()
    refused, hurried = bench.add(), bench.add()
    bench.core.connected(0.0)
    bench.due()

    assert bench.core.receipt(Receipt(refused, "refused", reason="no_fix"), 0.0) is not None
    assert bench.core.receipt(Receipt(hurried, "refused", reason="rate_limited"), 0.0) is None

    assert [message.msg_id for message in bench.core.messages()] == [hurried]
    assert bench.until_due() == [hurried]


def test_a_receipt_that_says_more_than_stored_says_stored_too() -> None:
    for status in ("notified", "acknowledged", "resolved", "off_shift"):
        bench = Bench()
        alert = bench.add(Kind.ALERT)
        assert bench.core.receipt(Receipt(alert, status), 0.0) is not None, status
    bench = Bench()
    alert = bench.add(Kind.ALERT)
    assert bench.core.receipt(Receipt(alert, "a word of a later version"), 0.0) is None
    assert len(bench.core) == 1


def test_what_the_broker_refused_is_sent_again_after_its_wait() -> None:
    bench = Bench()
    one, two = bench.add(), bench.add()
    bench.core.connected(0.0)
    bench.due()
    bench.core.taken(one)
    bench.core.not_taken(two)

    assert bench.until_due() == [one, two]  # the probe, and the message that the broker has not
