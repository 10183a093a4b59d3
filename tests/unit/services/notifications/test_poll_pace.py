"""Tests of the pauses between two looks for due notifications."""

from services.notifications.poll_pace import POLL_S, REST_S, RESTLESS_S, PollPace


def test_after_a_start_and_while_something_is_due_it_is_looked_often() -> None:
    looks = PollPace(now_s=100)
    assert looks.pause_s(now_s=100) == POLL_S
    assert looks.pause_s(now_s=100 + RESTLESS_S) == REST_S
    looks.found(now_s=200)
    assert looks.pause_s(now_s=200) == POLL_S
    assert looks.pause_s(now_s=200 + RESTLESS_S) == REST_S


def test_what_is_known_to_be_due_ends_the_rest_in_time() -> None:
    looks = PollPace(now_s=0)
    looks.expect(102.0)
    looks.expect(1000.0)
    assert looks.pause_s(now_s=90) == REST_S
    assert looks.pause_s(now_s=100) == 2.0
    assert looks.pause_s(now_s=102) == POLL_S


def test_what_was_due_is_looked_for_for_a_while_and_then_forgotten() -> None:
    looks = PollPace(now_s=0)
    looks.expect(100.0)
    assert looks.pause_s(now_s=100 + RESTLESS_S - 0.1) == POLL_S
    assert looks.pause_s(now_s=100 + RESTLESS_S) == REST_S
