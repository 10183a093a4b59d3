"""A websocket session on a bad network.

It is cut off at random, goes to any gateway, and must miss and repeat nothing.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway.mqtt import packets as wire
from ops.local.stack import Stack
from services.feed.client import SNAPSHOT, FrameChecker
from services.feed.stream import id_of, stream_key
from services.platform import config as configuration
from tests.support.commands import run_vigil
from tests.support.outside_clients import OutsideClients
from tests.support.rfc6455_client import CLOSE, TEXT, WebsocketPeer, client_frame, close_frame

VISIT_S = 0.3
"""Longest time in seconds for which a visit lasts."""
ALERTS = frozenset({"critical_alert", "alert_created", "alert_updated"})
NEW = frozenset({"critical_alert", "alert_created"})
TRY_AGAIN = {1001, 1013, 4408}
REFUSED_PAUSE_S = 0.05


class RoamingSession:
    """A client that comes and goes.

    `runs` has the received frames in order: one run for each beginning from a snapshot.
    """

    def __init__(self, bases: Sequence[str], token: str, watcher: FrameChecker, *, seed: int) -> None:
        self._bases = bases
        self._token = token
        self._watcher = watcher
        self._chance = random.Random(seed)
        self.runs: list[FrameRun] = []
        self.visits = 0
        self.resumed = 0
        self.turned_away = 0

    @property
    def since(self) -> int:
        return self._watcher.since or 0

    def visit(self) -> None:
        """Connect, listen for a moment that may be zero, and leave.

        The client leaves without a word, in order, or not at all.
        """
        try:
            peer = WebsocketPeer(self._chance.choice(self._bases), self._token, query=self._query())
        except OSError:
            self._turn_away()  # that gateway is down
            return
        self.visits += 1
        try:
            self._listen(peer, for_s=self._chance.choice((0.0, self._chance.uniform(0.0, VISIT_S))))
            if self._chance.random() < 0.2:
                self._ask_again(peer)
            if self._chance.random() < 0.3:
                peer.send(close_frame(1000))
        except OSError:
            pass  # the gateway was killed; frames that were read before count
        finally:
            peer.close()  # with unread bytes, and perhaps in the middle of a frame

    def visit_until(self, condition: Callable[[], Any], *, timeout_s: float = 60.0) -> None:
        """Connect again until the condition holds."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, "it was not told in time"
            self.visit()

    def alerts(self) -> Iterator[str]:
        """Yield the ids of alerts in the order in which they became known.

        Frames and snapshots both count.
        """
        known: set[str] = set()
        for run in self.runs:
            for alert_id in run.known():
                if alert_id not in known:
                    known.add(alert_id)
                    yield alert_id

    def _query(self) -> str:
        return "" if self._watcher.since is None else f"?since={self._watcher.since}"

    def _turn_away(self) -> None:
        self.turned_away += 1
        time.sleep(REFUSED_PAUSE_S)  # as any client: not a storm of attempts

    def _listen(self, peer: WebsocketPeer, *, for_s: float, until: int | None = None) -> None:
        """Take the frames that come.

        With `until`, skip everything before the answer with that `ref`.
        """
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            peer.sock.settimeout(left_s)
            try:
                frame = peer.frame()
            except TimeoutError:
                return
            if frame is None:
                return
            if frame.opcode == CLOSE:
                code = int.from_bytes(frame.payload[:2], "big")
                assert code in TRY_AGAIN, frame.payload
                self._turn_away()
                return
            if frame.opcode == TEXT and (until is None or frame.json.get("ref") == until):
                until = None
                self._take(frame.payload)

    def _ask_again(self, peer: WebsocketPeer) -> None:
        """Send `resume` on the same socket. Frames on their way before the answer do not count."""
        peer.sock.settimeout(5)
        ref = self.visits
        peer.send(client_frame(TEXT, b'{"type": "resume", "since": %d, "ref": %d}' % (self.since, ref)))
        self._listen(peer, for_s=VISIT_S, until=ref)

    def _take(self, payload: bytes) -> None:
        frame = self._watcher.take(payload)
        if frame["type"] == "connected":
            self.resumed += frame["resumed"]
        elif frame["type"] == SNAPSHOT:
            self.runs.append(FrameRun(frame))
        elif frame["type"] in ALERTS:
            self.runs[-1].frames.append(frame)


class FrameRun:
    """The frames that follow one snapshot."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.begins_after: int = snapshot["id"]
        self.frames: list[dict[str, Any]] = []
        self._alerts: list[str] = [alert["id"] for alert in reversed(snapshot["data"]["alerts"])]

    def known(self) -> list[str]:
        return self._alerts + [frame["data"]["id"] for frame in self.frames if frame["type"] in NEW]


class AlarmSource:
    """A tenant whose guards press, press again and walk, until `stop`."""

    GUARDS = 3000
    PAUSE_S = 0.08

    def __init__(self, outside: OutsideClients, stack: Stack, *, seed: int) -> None:
        self.tenant_id = int(outside.run, 16) % 1_000_000 + 2_000_000
        self._guards = [f"guard-{outside.run}-{number}" for number in range(self.GUARDS)]
        run_vigil(outside.env, "tenant", "add", str(self.tenant_id), f"Alarms {outside.run}")
        outside.execute(
            "INSERT INTO guard (guard_id, tenant_id, name) SELECT unnest(%s::text[]), %s, 'one of many'",
            self._guards,
            self.tenant_id,
        )
        self._address = stack.addresses()["mqtt"].split(":")
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._press, daemon=True)
        self.pressed: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _press(self) -> None:
        host, port = self._address
        with socket.create_connection((host, int(port)), timeout=20) as broker:
            broker.sendall(wire.connect(f"alarms-{self.tenant_id}"))
            broker.recv(4)
            for number, guard in enumerate(self._guards):
                if self._stopping.wait(self._chance.uniform(0.0, 2 * self.PAUSE_S)):
                    break
                broker.sendall(self._message(number, guard))
                if guard not in self.pressed:
                    self.pressed.append(guard)

    def _message(self, number: int, guard: str) -> bytes:
        """Return the packets of a press. Now and then, one guard presses again, and one walks."""
        packets = [wire.publish(f"alert/panic/{guard}", b"{}", message_id=3 * number % 60_000 + 1)]
        if self.pressed and self._chance.random() < 0.3:
            again = self._chance.choice(self.pressed)
            packets.append(wire.publish(f"alert/panic/{again}", b"{}", message_id=3 * number % 60_000 + 2))
        if self._chance.random() < 0.3:
            place = b'{"lat": 12.9, "lon": 77.5, "accuracy": 5}'
            packets.append(wire.publish(f"guard/{guard}/gps", place, message_id=3 * number % 60_000 + 3))
        return b"".join(packets)


def watcher_of(outside: OutsideClients, tenant_id: int) -> FrameChecker:
    """Return a watcher that reads that tenant's feed as a program does."""
    return FrameChecker(tenant_id, keys=lambda: outside.ring.of_tenant(tenant_id))


def balance(outside: OutsideClients, alarms: AlarmSource, wanderer: RoamingSession) -> None:
    """Check that all presses are known, and that each run is the stream from its beginning on.

    The frames are compared one by one.
    """
    query = "SELECT alert_id::text FROM mqtt_device_alert WHERE tenant_id = %s"
    count = len(alarms.pressed)
    outside.until(lambda: len(outside.rows(query, alarms.tenant_id)) == count, timeout_s=60)
    raised = {alert_id for (alert_id,) in outside.rows(query, alarms.tenant_id)}
    wanderer.visit_until(lambda: set(wanderer.alerts()) >= raised)
    stream = streamed(outside, alarms.tenant_id)
    wanderer.visit_until(lambda: wanderer.since >= stream[-1][0])
    assert set(wanderer.alerts()) == raised
    for run in wanderer.runs:
        heard = [(frame["id"], frame["type"]) for frame in run.frames]
        # a Redis that lost all data holds no more
        held = [entry for entry in heard if entry[0] >= stream[0][0]]
        after = [entry for entry in stream if entry[0] > run.begins_after]
        assert held == after[: len(held)]
        fresh = [frame["data"]["id"] for frame in run.frames if frame["type"] in NEW]
        assert len(fresh) == len(set(fresh)), "an alert that was raised twice"
    print(
        f"{wanderer.visits} visits ({wanderer.resumed} resumed, {wanderer.turned_away} turned away),"
        f" {count} alerts, {len(stream)} frames about them, {len(wanderer.runs)} snapshots"
    )


def streamed(outside: OutsideClients, tenant_id: int) -> list[tuple[int, str]]:
    """Return (id, type) of the stream's frames about alerts."""
    config = configuration.load(environ=outside.env)
    entries: Any = outside.redis().xrange(stream_key(config.redis.key_prefix, tenant_id))
    found = [(id_of(entry_id), fields[b"type"].decode()) for entry_id, fields in entries]
    return [entry for entry in found if entry[1] in ALERTS]
