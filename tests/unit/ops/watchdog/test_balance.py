"""Tests that the balance of events finds those that are in no visible place, and no others."""

from itertools import repeat

from ops.watchdog.balance import WINDOW, CountSample, EventBalance, event_of, missing

FIXES = "evt-mqtt_gateway-guard_gps_received--location.process_guard_gps"
RAISED = "evt-alerts-alert_raised--mqtt_gateway.send_raised_receipts"
RUNGS = ["vigil.delay.1s", "vigil.delay.300s"]


def look(
    *, published: float = 100, settled: float = 100, in_hand: float = 0, waiting: int = 0, on_rung: int = 0
) -> CountSample:
    return CountSample(
        {"mqtt_gateway.guard_gps_received": published, "alerts.alert_raised": 7},
        {FIXES: settled, RAISED: 7},
        {FIXES: in_hand},
        {FIXES: waiting, "vigil.delay.300s": on_rung, "vigil.dead": 55},
    )


def of(found: CountSample) -> float:
    return missing(found, [FIXES, RAISED], RUNGS)


def test_a_queue_names_its_event() -> None:
    assert event_of(FIXES) == "mqtt_gateway.guard_gps_received"
    assert event_of(RAISED) == "alerts.alert_raised"


def test_what_is_settled_waits_is_in_hand_or_on_a_rung_is_not_missing() -> None:
    assert of(look()) == 0
    assert of(look(settled=60, in_hand=10, waiting=25, on_rung=5)) == 0


def test_what_is_nowhere_is_missing() -> None:
    assert of(look(settled=60, in_hand=10, waiting=5, on_rung=5)) == 20


def test_an_event_with_two_queues_is_to_be_settled_by_both() -> None:
    other = "evt-alerts-alert_raised--notifications.hear"
    assert missing(look(), [FIXES, RAISED, other], RUNGS) == 7


def figures(balance: EventBalance, *found: float) -> list[float | None]:
    return [balance.take(one) for one in found]


def test_nothing_is_said_before_enough_was_seen() -> None:
    assert figures(EventBalance(), *repeat(5.0, WINDOW - 1)) == [None] * (WINDOW - 1)


def test_what_rises_and_stays_is_a_finding_and_ends_when_it_is_settled() -> None:
    # Given a balance that has seen a quiet time, from any first count
    balance = EventBalance()
    assert figures(balance, *repeat(-40.0, WINDOW))[-1] == 0

    # When 30 events are nowhere
    assert figures(balance, *repeat(-10.0, WINDOW))[-1] == 30

    # Then the difference ends when they have come
    assert figures(balance, *repeat(-40.0, WINDOW))[-1] == 0


def test_what_is_on_its_way_at_one_look_is_no_finding() -> None:
    balance = EventBalance()
    looks = [*repeat(0.0, WINDOW), 25.0, 0.0, -25.0, 0.0, 30.0, 0.0, 0.0]
    assert set(figures(balance, *looks)) == {None, 0}


def test_events_that_are_handled_twice_hide_nothing_that_is_missing_later() -> None:
    # Given 50 events that were delivered twice, and so settled twice
    balance = EventBalance()
    figures(balance, *repeat(0.0, WINDOW), *repeat(-50.0, WINDOW))

    # When 20 others are nowhere
    # Then they are found, although more was settled than published
    assert figures(balance, *repeat(-30.0, WINDOW))[-1] == 20


def test_a_balance_that_begins_anew_needs_to_see_enough_again() -> None:
    balance = EventBalance()
    figures(balance, *repeat(0.0, WINDOW))
    balance.forget()
    assert figures(balance, *repeat(900.0, WINDOW)) == [None] * (WINDOW - 1) + [0]
