"""The outbox against a real broker.

The test plays the gateway, and stores and answers as it likes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from vigil_device import Kind, Outbox, OutboxInUse, Policy, State, StoreFailed, Update
from vigil_device import outbox as outbox_module
from vigil_device.store import Store

FAST = Policy(alert_wait_s=0.4, bulk_wait_s=0.6, cap_s=0.5, connect_cap_s=0.3)
TIMEOUT_S = 30.0
README = Path(__file__).resolve().parents[1] / "README.md"


def until(condition: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        time.sleep(0.02)  # the event is in another thread
    return found


def open_outbox(broker: Any, path: Path | str, **options: Any) -> Outbox:
    return Outbox(
        path, source_id="guard-1", host="127.0.0.1", port=broker.port, **{"policy": FAST, **options}
    )


@pytest.mark.parametrize("protocol", [3, 5])
def test_what_is_sent_is_stored_and_every_state_is_reported(
    broker: Any, gateway: Any, tmp_path: Path, protocol: int
) -> None:
    updates: list[Update] = []
    with open_outbox(broker, tmp_path / "o.db", protocol=protocol, on_update=updates.append) as outbox:
        alert = outbox.send_alert("PANIC", message="help", lat=12.97, lon=77.59)
        position = outbox.send_position(12.97, 77.59, accuracy=5)
        assert outbox.wait(TIMEOUT_S)
        gateway.answer(alert, "notified", alert_id="a-1")
        gateway.answer(alert, "acknowledged", alert_id="a-1", by="Asha")
        until(lambda: updates and updates[-1].state is State.ACKNOWLEDGED)

    assert [topic for topic, _ in gateway.heard] == ["alert/panic/guard-1", "guard/guard-1/gps"]
    of_alert = [update.state for update in updates if update.msg_id == alert]
    assert of_alert == [State.QUEUED, State.SENT, State.STORED, State.NOTIFIED, State.ACKNOWLEDGED]
    assert [u.state for u in updates if u.msg_id == position] == [State.QUEUED, State.SENT, State.STORED]
    assert updates[-1].receipt is not None
    assert (updates[-1].receipt.by, updates[-1].receipt.alert_id) == ("Asha", "a-1")


def test_a_message_whose_receipt_is_missing_is_sent_again_with_the_same_bytes(
    broker: Any, gateway: Any
) -> None:
    gateway.answers = False
    with open_outbox(broker, ":memory:") as outbox:
        alert = outbox.send_alert("PANIC")
        until(lambda: gateway.ids[alert] >= 3)
        assert outbox.pending() == outbox.pending(Kind.ALERT) == 1
        gateway.answer(alert)
        assert outbox.wait(TIMEOUT_S)

    assert len(set(gateway.heard)) == 1
    assert outbox.pending() == 0


def test_what_was_queued_without_a_broker_goes_out_after_a_restart_of_the_device(
    broker: Any, gateway: Any, tmp_path: Path
) -> None:
    with Outbox(tmp_path / "o.db", source_id="guard-1", host="127.0.0.1", port=1, policy=FAST) as outbox:
        positions = [outbox.send_position(1.0, float(number)) for number in range(30)]
        alert = outbox.send_alert("SOS")
        assert outbox.pending() == 31

    with open_outbox(broker, tmp_path / "o.db") as outbox:
        later = outbox.send_position(2.0, 2.0)
        assert outbox.wait(TIMEOUT_S)

    arrived = [json.loads(payload)["msg_id"] for _, payload in gateway.heard]
    assert arrived[0] == alert
    assert arrived[1:] == [*positions, later]


def test_a_broker_that_is_killed_and_forgets_costs_nothing(
    broker: Any, gateway: Any, gateways: Callable[[], Any], tmp_path: Path
) -> None:
    """While the gateway is away, the broker's acknowledged messages are only in its memory."""
    taken: list[str] = []

    def on_update(update: Update) -> None:
        taken.extend([update.msg_id] if update.state is State.SENT else [])

    with open_outbox(broker, tmp_path / "o.db", on_update=on_update) as outbox:
        outbox.send_position(0.0, 0.0)
        assert outbox.wait(TIMEOUT_S)
        gateway.close()
        sent = [outbox.send_position(0.0, float(n)) for n in range(20)] + [outbox.send_alert("PANIC")]
        until(lambda: set(taken) >= set(sent))
        broker.kill()
        broker.start()
        again = gateways()
        assert outbox.wait(TIMEOUT_S)

    assert set(again.ids) | set(gateway.ids) >= set(sent)


def test_a_refusal_sets_a_message_aside_and_reports_its_reason(broker: Any, gateway: Any) -> None:
    gateway.answers = False
    updates: list[Update] = []
    with open_outbox(broker, ":memory:", on_update=updates.append) as outbox:
        msg_id = outbox.send_position(0.0, 0.0)
        until(lambda: gateway.ids[msg_id])
        gateway.answer(msg_id, "refused", reason="no_fix")
        assert outbox.wait(TIMEOUT_S)
        until(lambda: updates[-1].state is State.REFUSED)
        [kept] = outbox.set_aside()
        outbox.clear_set_aside()
        assert outbox.set_aside() == []

    assert (kept.message.msg_id, kept.state, kept.reason) == (msg_id, State.REFUSED, "no_fix")
    assert updates[-1].reason == "no_fix"


def test_nothing_shows_that_a_silent_alert_was_sent(broker: Any, gateway: Any) -> None:
    gateway.answers = False
    updates: list[Update] = []
    with open_outbox(broker, ":memory:", on_update=updates.append) as outbox:
        silent = [outbox.send_alert("duress"), outbox.send_alert("PANIC", silent=True)]
        until(lambda: all(gateway.ids[msg_id] for msg_id in silent))
        assert outbox.pending() == 0
        assert not outbox.wait(0.0)
        for msg_id in silent:
            # Only the device knows that the other alert is silent.
            gateway.answer(msg_id, silent=msg_id == silent[0])
        assert outbox.wait(TIMEOUT_S)
        gateway.answer(silent[0], "acknowledged", silent=True)
        loud = outbox.send_position(0.0, 0.0)
        until(lambda: gateway.ids[loud])
        gateway.answer(loud)
        until(lambda: updates and updates[-1].state is State.STORED)

    assert {update.msg_id for update in updates} == {loud}


def test_what_nobody_listens_to_is_not_sent_as_far_as_the_device_knows(
    broker: Any, gateways: Callable[[], Any]
) -> None:
    """The PUBACK of MQTT 5 says that the broker has kept nothing."""
    updates: list[Update] = []
    with open_outbox(broker, ":memory:", on_update=updates.append) as outbox:
        position = outbox.send_position(0.0, 0.0)
        until(lambda: outbox.sends >= 2)
        assert [update.state for update in updates] == [State.QUEUED]
        gateway = gateways()
        assert outbox.wait(TIMEOUT_S)

    assert gateway.ids[position] == 1


@pytest.mark.parametrize("protocol", [3, 5])
def test_what_became_of_an_alert_is_heard_after_a_restart_of_the_device(
    broker: Any, gateway: Any, tmp_path: Path, protocol: int
) -> None:
    with open_outbox(broker, tmp_path / "o.db", protocol=protocol) as outbox:
        alert = outbox.send_alert("PANIC")
        assert outbox.wait(TIMEOUT_S)
    gateway.answer(alert, "acknowledged", by="Asha")
    updates: list[Update] = []

    with open_outbox(broker, tmp_path / "o.db", protocol=protocol, on_update=updates.append):
        until(lambda: updates)

    assert [(update.msg_id, update.state) for update in updates] == [(alert, State.ACKNOWLEDGED)]


def test_the_offset_of_the_clock_is_offered_and_not_applied(broker: Any, gateway: Any) -> None:
    gateway.ahead = timedelta(seconds=500)
    before = datetime.now(timezone.utc)
    with open_outbox(broker, ":memory:") as outbox:
        assert outbox.clock_offset() is None
        outbox.send_position(0.0, 0.0)
        assert outbox.wait(TIMEOUT_S)
        outbox.send_position(0.0, 0.0)
        assert outbox.wait(TIMEOUT_S)
        found = outbox.clock_offset()

    assert found is not None
    assert abs(found.seconds - 500) <= found.uncertainty_s
    stamps = [datetime.fromisoformat(json.loads(payload)["timestamp"]) for _, payload in gateway.heard]
    assert all(abs((stamp - before).total_seconds()) < 60 for stamp in stamps)


def test_the_time_of_a_fix_is_the_callers(broker: Any, gateway: Any) -> None:
    at = datetime(2026, 11, 29, 9, 0, tzinfo=timezone.utc)
    with open_outbox(broker, ":memory:") as outbox:
        outbox.send_position(0.0, 0.0, at=at)
        assert outbox.wait(TIMEOUT_S)

    assert json.loads(gateway.heard[0][1])["timestamp"] == at.isoformat()


def test_many_threads_may_send_at_once(broker: Any, gateway: Any, tmp_path: Path) -> None:
    ids: list[str] = []
    with open_outbox(broker, tmp_path / "o.db", policy=Policy()) as outbox:

        def press() -> None:
            ids.extend(outbox.send_position(0.0, 0.0) for _ in range(50))

        threads = [threading.Thread(target=press) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outbox.wait(TIMEOUT_S)
        assert outbox.sends == 400

    assert len(set(ids)) == 400
    assert set(gateway.ids) == set(ids)


def test_an_error_in_the_devices_own_program_stops_nothing(broker: Any, gateway: Any) -> None:  # noqa: ARG001
    def on_update(_: Update) -> None:
        raise RuntimeError("a bug of the device maker")

    with open_outbox(broker, ":memory:", on_update=on_update) as outbox:
        outbox.send_alert("PANIC")
        assert outbox.wait(TIMEOUT_S)


def test_an_update_may_send(broker: Any, gateway: Any) -> None:
    made: list[Outbox] = []

    def on_update(update: Update) -> None:
        if update.state is State.STORED and len(gateway.heard) == 1:
            made[0].send_position(0.0, 0.0)

    with open_outbox(broker, ":memory:", on_update=on_update) as outbox:
        made.append(outbox)
        outbox.send_alert("PANIC")
        until(lambda: len(gateway.heard) == 2)


def test_a_disk_that_fails_does_not_keep_an_alert_back(broker: Any, gateway: Any, tmp_path: Path) -> None:
    with open_outbox(broker, tmp_path / "o.db") as outbox:
        outbox._store._connection.execute("PRAGMA query_only = ON")  # noqa: SLF001 - a disk that takes nothing
        alert = outbox.send_alert("PANIC")
        assert outbox.wait(TIMEOUT_S)

    assert gateway.ids[alert] == 1


def test_a_full_outbox_drops_the_oldest_position_and_says_so(broker: Any) -> None:
    updates: list[Update] = []
    broker.stop()
    with open_outbox(
        broker, ":memory:", policy=FAST._replace(max_messages=2), on_update=updates.append
    ) as outbox:
        alert, old, new, newer = (
            outbox.send_alert("PANIC"),
            outbox.send_position(0.0, 0.0),
            outbox.send_position(0.0, 1.0),
            outbox.send_alert("SOS"),
        )
        until(lambda: sum(update.state is State.DROPPED for update in updates) == 2)
        assert outbox.pending(Kind.ALERT) == 2

    assert {update.msg_id for update in updates if update.state is State.DROPPED} == {old, new}
    assert {alert, newer}


def test_close_is_quick_at_any_moment_and_a_closed_outbox_takes_nothing(broker: Any, tmp_path: Path) -> None:
    broker.stop()
    outbox = open_outbox(broker, tmp_path / "o.db", policy=Policy())
    outbox.send_alert("PANIC")
    began_s = time.monotonic()
    outbox.close()
    outbox.close()

    assert time.monotonic() - began_s < 5.0
    with pytest.raises(ValueError, match="closed"):
        outbox.send_alert("PANIC")


def test_a_device_without_a_disk_sends_its_alarms_when_it_may(
    broker: Any, gateway: Any, tmp_path: Path
) -> None:
    with pytest.raises(StoreFailed):
        open_outbox(broker, tmp_path / "nowhere" / "o.db")
    with open_outbox(broker, tmp_path / "nowhere" / "o.db", or_memory=True) as outbox:
        alert = outbox.send_alert("PANIC")
        assert not outbox.is_durable
        assert outbox.wait(TIMEOUT_S)

    assert gateway.ids[alert] == 1


def test_a_message_that_cannot_be_published_does_not_stop_the_others(
    broker: Any, gateway: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path / "o.db")
    store.put(msg_id="odd", kind=Kind.ALERT, topic="a/#", payload=b"{}", born_s=0.0)
    store.close()
    with open_outbox(broker, tmp_path / "o.db") as outbox:
        alert = outbox.send_alert("PANIC")
        assert outbox.wait(TIMEOUT_S)
        [kept] = outbox.set_aside()

    assert gateway.ids[alert] == 1
    assert (kept.message.msg_id, kept.state) == ("odd", State.UNDELIVERED)


def test_an_update_may_close_the_outbox(broker: Any, gateway: Any) -> None:  # noqa: ARG001
    made: list[Outbox] = []
    closed = threading.Event()

    def on_update(update: Update) -> None:
        if update.state is State.STORED:
            made[0].close()
            closed.set()

    made.append(open_outbox(broker, ":memory:", on_update=on_update))
    made[0].send_alert("PANIC")
    assert closed.wait(TIMEOUT_S)
    made[0].close()


def test_a_broker_that_does_not_answer_any_more_is_left(
    broker: Any, gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "NO_ANSWER_S", 1.0)
    with open_outbox(broker, ":memory:", keepalive_s=600) as outbox:
        outbox.send_position(0.0, 0.0)
        assert outbox.wait(TIMEOUT_S)
        with broker.frozen():
            alert = outbox.send_alert("PANIC")
            until(lambda: outbox.sends >= 2)
            until(lambda: not outbox._packets)  # noqa: SLF001 - the connection is given up
        assert outbox.wait(TIMEOUT_S)

    assert gateway.ids[alert] >= 1


def test_one_file_is_for_one_outbox(broker: Any, tmp_path: Path) -> None:
    with open_outbox(broker, tmp_path / "o.db"), pytest.raises(OutboxInUse):
        open_outbox(broker, tmp_path / "o.db")


def test_extra_fields_that_are_no_json_do_not_keep_an_alert_back(broker: Any, gateway: Any) -> None:
    with open_outbox(broker, ":memory:") as outbox:
        outbox.send_alert("PANIC", message="help", photo=b"\xff", height=float("nan"), floor=3)
        assert outbox.wait(TIMEOUT_S)

    body = json.loads(gateway.heard[0][1])
    assert (body["message"], body["floor"], body["photo"], body["height"]) == ("help", 3, "b'\\xff'", "nan")


def test_the_program_of_the_readme_stores_an_alert(broker: Any, gateway: Any, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    lines = [line.removeprefix("   ") for line in program.splitlines()]
    text = "\n".join(line for line in lines if not re.match(r"\s+(tls|username|password)=", line))
    text = text.replace("/var/lib/guard/", f"{tmp_path}/")
    text = text.replace("guard-789", "guard-1").replace(
        'host="mqtt.example.com"', f'host="127.0.0.1", port={broker.port}'
    )
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    )
    assert "State.STORED" in done.stdout.splitlines()[-1]
    assert len(gateway.heard) == 1
