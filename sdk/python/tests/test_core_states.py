"""Any order of sends, receipts, broken connections, crashes and pauses.

No alert is forgotten before its receipt.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from vigil_device.core import Core
from vigil_device.ids import MsgIds
from vigil_device.messages import Kind, Receipt, State
from vigil_device.policy import Policy
from vigil_device.store import Store

POLICY = Policy(max_messages=12, window=3)


class World(RuleBasedStateMachine):
    """Outbox on a real database, with a simulated broker and a simulated Vigil.

    The broker loses acknowledged messages, and Vigil is away or not.
    """

    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="vigil-outbox-")
        self.path = Path(self.directory.name) / "outbox.db"
        self.now_s = 0.0
        self.chance = random.Random(1)  # noqa: S311 - a test wants repeatable chance
        self.alerts: dict[str, bytes] = {}
        self.receipted: set[str] = set()
        self.given_up: set[str] = set()
        self.at_broker: list[tuple[str, bytes]] = []
        self.at_vigil: list[tuple[str, bytes]] = []
        self.ids: set[str] = set()
        self.connected = False
        self.open()

    def open(self) -> None:
        self.store = Store(self.path)
        self.make_id = MsgIds(
            installation=self.store.installation, starts=self.store.starts, random_part="same"
        )
        self.core = Core(POLICY, chance=self.chance.random)
        for message in self.store.waiting():
            self.drop(self.core.add(message))

    def drop(self, messages: list) -> None:  # type: ignore[type-arg]
        for message in messages:
            assert message.kind is not Kind.ALERT
            self.store.remove(message.number)

    @rule(kind=st.sampled_from(Kind))
    def send(self, kind: Kind) -> None:
        msg_id = self.make_id()
        assert msg_id not in self.ids
        self.ids.add(msg_id)
        payload = msg_id.encode()
        message = self.store.put(msg_id=msg_id, kind=kind, topic="t", payload=payload, born_s=self.now_s)
        if kind is Kind.ALERT:
            self.alerts[msg_id] = payload
        self.drop(self.core.add(message))
        self.publish()

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.core.connected(self.now_s)
            self.publish()

    @rule()
    def disconnect(self) -> None:
        self.connected = False
        self.core.disconnected()

    @rule(reopened_after_s=st.sampled_from([0.0, 3600.0]))
    def crash(self, reopened_after_s: float) -> None:
        """Kill the device with kill -9.

        Committed messages survive, and so do messages only marked for deletion.
        """
        self.connected = False
        self.store._connection.close()  # noqa: SLF001 - as the system closes the file of a dead process
        self.now_s += reopened_after_s
        self.open()

    @rule(passed_s=st.sampled_from([0.1, 4.0, 20.0, 90.0, 4000.0, 90_000.0]))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.publish()

    def publish(self) -> None:
        due = self.core.due(self.now_s)
        assert self.connected or not due.sends
        for message in due.sends:
            assert self.alerts.get(message.msg_id, message.payload) == message.payload
            self.at_broker.append((message.msg_id, message.payload))
        for message, reason in due.given_up:
            if message.kind is Kind.ALERT:
                assert reason == "too old"
                assert self.now_s - message.born_s > POLICY.max_age_s
            self.given_up.add(message.msg_id)
            self.store.set_aside(message, State.UNDELIVERED, reason)

    @rule()
    def broker_acknowledges(self) -> None:
        for msg_id, _ in self.at_broker:
            self.core.taken(msg_id)

    @rule()
    def broker_dies(self) -> None:
        self.at_broker.clear()
        self.disconnect()

    @rule(target=sent)
    def vigil_stores(self) -> str:
        """Store the oldest message that the broker holds."""
        if not self.at_broker:
            return ""
        message = self.at_broker.pop(0)
        self.at_vigil.append(message)
        return message[0]

    @rule(msg_id=consumes(sent), status=st.sampled_from(["stored", "acknowledged", "new word"]))
    def receipt_arrives(self, msg_id: str, status: str) -> None:
        """Deliver a receipt, in any order, late, or after a crash of the device."""
        if msg_id:
            self.take(msg_id, status)

    def take(self, msg_id: str, status: str) -> None:
        message = self.core.receipt(Receipt(msg_id, status), self.now_s)
        if status != "new word":
            self.receipted.add(msg_id)
        if message is not None:
            assert status != "new word"
            self.store.remove(message.number)
        self.publish()

    @invariant()
    def every_alert_is_on_disk_and_in_hand_until_its_receipt(self) -> None:
        due = self.alerts.keys() - self.receipted - self.given_up
        assert due <= {message.msg_id for message in self.core.messages()}
        assert due <= {message.msg_id for message in self.store.waiting()}
        assert self.given_up & self.alerts.keys() <= {
            item.message.msg_id for item in self.store.all_set_aside()
        }

    @invariant()
    def the_outbox_is_bounded(self) -> None:
        alerts = sum(message.kind is Kind.ALERT for message in self.core.messages())
        assert len(self.core) <= max(POLICY.max_messages, alerts)

    def teardown(self) -> None:
        """Restore all parts. The remaining messages must arrive, with their own bytes."""
        self.disconnect()
        self.connect()
        for _ in range(1_000):
            while self.at_broker:
                msg_id = self.vigil_stores()
                self.take(msg_id, "stored")
            if not len(self.core):
                break
            self.now_s = max(self.now_s, self.core.wake_at_s(self.now_s) or self.now_s)
            self.publish()
        assert len(self.core) == 0
        assert set(self.alerts.items()) <= set(self.at_vigil) | {
            item for item in self.alerts.items() if item[0] in self.given_up
        }
        self.store.close()
        self.directory.cleanup()


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
