"""Tests of a message that kills the process that handles it.

It waits for the process. The message is set aside, and the process goes on.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.mqtt import backlog
from ops.environment import PROJECT
from ops.local.stack import Stack
from ops.local.supervisor import Process, Supervisor, restarts_in_words
from services.messaging import dead_letter_queue
from services.supervision import restarts
from tests.support.commands import run_vigil
from tests.support.dying_process import COMPUTES, HANDLER_HANGS, HANDLER_KILLED, KILLED, WAITS
from tests.support.outside_clients import OutsideClients
from tests.support.stack_parts import held_down

SET_ASIDE_S = 60.0
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
ENDS = 2
"""Times that a lane may end by one message."""


class Dying:
    """A process in the place of the stack's own, supervised as `vigil up` does."""

    def __init__(self, stack: Stack, name: str, directory: Path, own: dict[str, str]) -> None:
        self._state = directory / "state.json"
        own = {"VIGIL_RESTART_DIR": str(directory / "restarts"), **own}
        environment = {**stack.process_environment(name), **own}
        self._supervisor = Supervisor(self._state)
        command = [sys.executable, "-m", "tests.support.dying_process", name]
        self.process = Process(name, command, log=directory / "process.log", environment=environment)
        self._stack = stack

    def start(self) -> None:
        self._supervisor.add(self.process)

    def stop(self) -> None:
        self._supervisor.stop()

    def poll(self) -> None:
        self._supervisor.poll()
        self._stack.supervisor.poll()

    def state(self) -> dict[str, Any]:
        """Return the state that `vigil status` reads."""
        [found] = json.loads(self._state.read_text())["processes"]
        return dict(found)


@contextmanager
def dying(stack: Stack, name: str, directory: Path, **own: str) -> Iterator[Dying]:
    """Yield the process before its start. Afterwards the stack's own process is back."""
    with held_down(stack, name):
        lane = Dying(stack, name, directory, own)
        try:
            yield lane
        finally:
            lane.stop()


def kept(outside: OutsideClients, source: str) -> list[tuple[Any, ...]]:
    query = "SELECT topic, payload, reason FROM rejected_message WHERE source_id = %s"
    return [(topic, bytes(payload), reason) for topic, payload, reason in outside.rows(query, source)]


def outage_notes(outside: OutsideClients, source: str) -> list[str]:
    """Return the notes of a late receipt among the flags of the source's alerts."""
    rows = outside.rows("SELECT flags FROM mqtt_device_alert WHERE source_id = %s", source)
    return [flag for (flags,) in rows for flag in flags if flag.startswith(backlog.NOTE)]


def alerts(outside: OutsideClients, source: str) -> list[tuple[Any, ...]]:
    query = "SELECT alert_type, occurrences FROM mqtt_device_alert WHERE source_id = %s"
    return outside.rows(query, source)


def taken_at_once(outside: OutsideClients, source: str) -> bool:
    """Return whether an alert of a panic that is pressed now has no note."""
    outside.publish(f"alert/panic/{source}", {"message": "help"})
    outside.until(lambda: alerts(outside, source))
    return outage_notes(outside, source) == []


def until(lane: Dying, outside: OutsideClients, condition: Any) -> Any:
    def polled() -> Any:
        lane.poll()
        return condition()

    return outside.until(polled, SET_ASIDE_S)


@pytest.mark.parametrize(
    ("word", "end"),
    [(COMPUTES, "its loop stood still for 5 s"), (KILLED, "it was ended by SIGKILL")],
    ids=["computes", "killed"],
)
def test_a_panic_behind_a_message_that_stops_the_lane_is_raised(
    stack: Stack, outside: OutsideClients, tmp_path: Path, word: bytes, end: str
) -> None:
    bad, good = f"bad-{outside.run}", f"good-{outside.run}"
    poison = b'{"message":"' + word + b'"}'
    with dying(stack, "mqtt_gateway-alert", tmp_path) as lane:
        # Given a message at the broker that its lane does not survive, and a panic behind it
        outside.publish(f"alert/panic/{bad}", poison)
        outside.publish(f"alert/panic/{good}", {"message": "help"})

        # When the lane starts
        lane.start()

        # Then it ends twice, keeps the message unread, and takes the panic
        until(lane, outside, lambda: alerts(outside, good) and alerts(outside, bad))
        assert alerts(outside, good) == [("PANIC", 1)]
        assert alerts(outside, bad) == [("UNREADABLE_ALERT", 1)]
        assert kept(outside, bad) == [(f"alert/panic/{bad}", poison, "poison")]
        assert (lane.process.restarts, lane.process.last_end) == (ENDS, end)

        # And the record shows that the panic may have waited, and a later one does not
        notes = outage_notes(outside, good)
        # A lane that is killed is back so soon that it may not count as offline.
        assert len(notes) == 1 or (word == KILLED and not notes)
        assert all(re.fullmatch(rf"{backlog.NOTE}:({TIME})?/{TIME}", note) for note in notes)
        until(lane, outside, lambda: lane.process.state == "ready")
        later = (f"later{number}-{outside.run}" for number in itertools.count())
        until(lane, outside, lambda: taken_at_once(outside, next(later)))

        # And the record shows the reason
        assert re.fullmatch(
            rf"2 restarts, last at [-\d]+ [:\d]+ UTC because {end}", restarts_in_words(lane.state())
        )
        assert "poison_message_quarantined" in lane.process.last_lines(200)
        record = restarts.read(tmp_path / "restarts" / "mqtt-gateway-alert.restarts")
        assert (record.restarts, record.stalls) == (ENDS, ENDS if word == COMPUTES else 0)

        # And the same bytes, sent once more, are set aside at once, as another occurrence
        outside.publish(f"alert/panic/{bad}", poison)
        until(lane, outside, lambda: alerts(outside, bad) == [("UNREADABLE_ALERT", 2)])
        assert lane.process.restarts == ENDS
        assert len(kept(outside, bad)) == 2


def test_the_messages_of_a_batch_in_which_one_stops_the_lane_are_stored(
    stack: Stack, outside: OutsideClients, tmp_path: Path
) -> None:
    sensors = [f"s{number}-{outside.run}" for number in range(30)]
    bad = sensors[17]
    with dying(stack, "mqtt_gateway-bulk", tmp_path) as lane:
        # Given thirty alarms of sensors at the broker, and one of them kills the lane
        for sensor in sensors:
            body = b'{"state":"ALARM"}' if sensor != bad else b'{"state":"' + KILLED + b'"}'
            outside.publish(f"sensor/{sensor}/alarm", body)

        # When the lane starts
        lane.start()

        # Then the others are stored, and this one is kept and reported
        query = "SELECT sensor_id FROM mqtt_sensor_reading WHERE sensor_id = ANY(%s)"
        until(lane, outside, lambda: len(outside.rows(query, sensors)) == len(sensors) - 1)
        until(lane, outside, lambda: alerts(outside, bad))
        assert alerts(outside, bad) == [("UNREADABLE_ALERT", 1)]
        assert kept(outside, bad) == [(f"sensor/{bad}/alarm", b'{"state":"' + KILLED + b'"}', "poison")]
        assert lane.process.restarts == ENDS


def test_alerts_behind_one_that_kills_the_alerts_service_are_raised(
    stack: Stack, outside: OutsideClients, tmp_path: Path
) -> None:
    bad, good = f"bad-{outside.run}", [f"good{number}-{outside.run}" for number in range(8)]
    with dying(stack, "alerts", tmp_path) as process:
        # Given an alert in the queue that kills its handler, among others
        for source in (*good[:2], bad, *good[2:]):
            message = HANDLER_KILLED if source == bad else "help"
            outside.publish(f"alert/panic/{source}", {"message": message})

        # When the alerts service starts
        process.start()

        # Then the others are raised, once each
        until(process, outside, lambda: all(alerts(outside, source) for source in good))
        assert [alerts(outside, source) for source in good] == [[("PANIC", 1)]] * len(good)

        # And this one is among the dead letters, with its reason, after three deaths of the process
        def letters() -> list[dead_letter_queue.QueuedDeadLetter]:
            found = dead_letter_queue.oldest_dead_letters(outside.env["AMQP_URI"])
            return [letter for letter in found if bad.encode() in letter.body]

        until(process, outside, letters)
        [letter] = letters()
        assert letter.reason == "poison"
        assert alerts(outside, bad) == []
        assert process.process.restarts == 3

    # And when an operator sends it again to a service that can handle it, it is raised
    run_vigil(outside.env, "dlq", "retry", letter.id)
    outside.until(lambda: alerts(outside, bad))


def test_positions_beside_one_that_kills_the_location_service_are_stored(
    stack: Stack, outside: OutsideClients, tmp_path: Path
) -> None:
    # Given positions of many guards in the queues of all shards, and one of them kills the handler
    guards = [f"guard-{outside.run}-{number}" for number in range(24)]
    bad = guards[11]
    query = "SELECT guard_id FROM mqtt_guard_location WHERE guard_id = ANY(%s)"
    with dying(stack, "location", tmp_path) as process:
        for guard in guards:
            note = HANDLER_KILLED if guard == bad else "fine"
            outside.publish(f"guard/{guard}/gps", {"lat": 43, "lon": 17, "note": note})

        # When the location service starts
        process.start()

        # Then the others are stored, each once
        until(process, outside, lambda: len(outside.rows(query, guards)) == len(guards) - 1)

        # And this one is among the dead letters, with its reason, after three deaths of the process
        def letters() -> list[dead_letter_queue.QueuedDeadLetter]:
            return [
                found
                for found in dead_letter_queue.oldest_dead_letters(outside.env["AMQP_URI"])
                if bad.encode() in found.body
            ]

        until(process, outside, letters)
        assert [letter.reason for letter in letters()] == ["poison"]
        assert process.process.restarts == 3
        assert sorted(guard for (guard,) in outside.rows(query, guards)) == sorted({*guards} - {bad})


def test_an_alert_whose_handler_never_ends_stops_nothing_for_good(
    stack: Stack, outside: OutsideClients, tmp_path: Path
) -> None:
    # Given an alerts service that may stand still for 3 s, and an alert whose handler waits
    # for nothing
    limits = "supervision: {stall_timeout_s: 10, work_timeout_s: 3}\n"
    text = (PROJECT / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(
        re.sub(r"^supervision:\n(  .*\n)+", limits, text, flags=re.MULTILINE)
    )
    assert limits in (tmp_path / "config.yaml").read_text()
    bad, good = f"bad-{outside.run}", f"good-{outside.run}"
    with dying(stack, "alerts", tmp_path, VIGIL_CONFIG=str(tmp_path / "config.yaml")) as process:
        outside.publish(f"alert/panic/{bad}", {"message": HANDLER_HANGS})

        # When the service starts, and a panic comes behind it
        process.start()
        until(process, outside, lambda: process.process.last_end)
        outside.publish(f"alert/panic/{good}", {"message": "help"})

        # Then it is started again, the supervisor's record has the reason, and the panic is raised
        until(process, outside, lambda: alerts(outside, good))
        reason = r"its work stood still for \d s \(1 process_device_alert\)"
        assert re.fullmatch(reason, process.process.last_end)
        record = restarts.read(tmp_path / "restarts" / "alerts.restarts")
        assert record.cause == restarts.STALLED
        assert re.fullmatch(reason, record.why)
        log = (tmp_path / "process.log").read_text()
        assert "Event().wait()" in log, "the log does not show where the handler stood"

        # And the alert that no process survives is a dead letter in the end
        found = dead_letter_queue.oldest_dead_letters
        until(
            process,
            outside,
            lambda: any(bad.encode() in letter.body for letter in found(outside.env["AMQP_URI"])),
        )
        assert process.process.restarts == 3


@pytest.mark.long
def test_a_lane_that_waits_for_ever_is_started_again(
    stack: Stack, outside: OutsideClients, tmp_path: Path
) -> None:
    bad = f"bad-{outside.run}"
    with dying(stack, "mqtt_gateway-alert", tmp_path) as lane:
        outside.publish(f"alert/panic/{bad}", b'{"message":"' + WAITS + b'"}')
        lane.start()
        until(lane, outside, lambda: alerts(outside, bad))
        assert alerts(outside, bad) == [("UNREADABLE_ALERT", 1)]
        assert (lane.process.restarts, lane.process.last_end) == (ENDS, "its loop stood still for 5 s")
