"""Clients of Vigil from outside: they publish like a device, and watch like a control room."""

import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import psycopg2
import redis
import websocket

from gateway.mqtt import packets
from gateway.noc.auth.tokens import Tokens
from ops.local.stack import Stack
from services.contracts.families import Fix, FixBatch, Origin
from services.feed import encryption
from services.feed.keyring import KeyRing
from services.messaging import DEAD_QUEUE, HEADER_QUEUE, HEADER_REASON, event_queue_name
from services.messaging.publisher import connect
from services.messaging.topology import EVENT_CONTENT_TYPE
from tests.support.canaries import canary
from tests.support.commands import run_vigil


class OutsideClients:
    """A development stack as its users see it.

    Sources have fresh names in every test.

    This is a context manager. At the end it closes its websocket sessions, because a user may have
    only so many open.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.env = stack.operator_environment()
        self.run = secrets.token_hex(4)
        self.ring = KeyRing("", file=self.env["CHANNELS_ENCRYPTION_KEY_FILE"])
        self.base = f"127.0.0.1:{self.env['VIGIL_HTTP_PORT']}"
        """The public port.

        The two addresses below are behind HAProxy. Only HAProxy connects to them from outside.
        """
        self.feed = f"127.0.0.1:{self.env['VIGIL_FEED_PORT']}"
        self.api = f"127.0.0.1:{self.env['VIGIL_API_PORT']}"
        self._database = psycopg2.connect(self.env["VIGIL_OWNER_DATABASE_URL"].replace("+psycopg2", ""))
        self._database.autocommit = True
        self._open = ExitStack()
        self._open.callback(self._database.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def publish(self, topic: str, payload: bytes | dict[str, Any]) -> None:
        """Publish with the stock client, at QoS 1."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        command = [
            "mosquitto_pub",
            "-h",
            "127.0.0.1",
            "-p",
            self.env["MQTT_BROKER_PORT"],
            "-q",
            "1",
            "-t",
            topic,
            "-s",
        ]
        subprocess.run(command, input=body, check=True, timeout=20, capture_output=True)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.env["REDIS_URL"])

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        with self._database.cursor() as cursor:
            cursor.execute(statement, values)

    def until(self, condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
        """Wait for the condition, and return its first true value."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, "it did not come to pass in time"
            time.sleep(0.02)
        return found

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Stop a process and its children: they exist and do nothing."""
        [process] = [process for process in self.stack.supervisor.processes if process.name == name]
        assert process.pid is not None
        stopped = stop_tree(process.pid)
        try:
            yield
        finally:
            # the parent last: it reaps no child that is about to go on
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def token(self, **claims: Any) -> str:
        options = {"name": "tester", "tenant_id": 1, "role": "operator", "lifetime_s": 600, **claims}
        return canary(Tokens(self.env["JWT_SECRET"]).make(**options))

    def request(
        self, method: str, path: str, body: object = None, *, token: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Return (status, decoded answer) of an HTTP request."""
        request = urllib.request.Request(f"http://{self.base}{path}", method=method, headers=headers)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def at(self, base: str) -> "HttpAddress":
        """Return the same at another address: another gateway, or a process behind HAProxy."""
        return HttpAddress(self, base)

    def give_up_on_a_fix_of(self, guard: str) -> str:
        """Write a dead letter as the location service leaves one, and return its id."""
        now = datetime.now(UTC)
        origin = Origin(guard, secrets.token_bytes(16), None, "t", now, now, False, (), None, "{}")
        body = msgspec.msgpack.encode(FixBatch([Fix(origin, 43.0, 17.0, 5.0, None, None, "gps", False)]))
        queue = event_queue_name("mqtt_gateway", "guard_gps_received", "location", "process_guard_gps")
        letter_id = secrets.token_hex(6)
        with connect(self.env["AMQP_URI"]) as connection, connection.channel() as channel:
            message = channel.prepare_message(
                body,
                content_type=EVENT_CONTENT_TYPE,
                content_encoding="binary",
                headers={HEADER_QUEUE: queue, HEADER_REASON: "Unavailable"},
                properties={"message_id": letter_id, "delivery_mode": 2},
            )
            channel.basic_publish_confirm(message, exchange="", routing_key=DEAD_QUEUE)
        return letter_id

    def person(self, role: str = "operator", tenant_id: int = 1) -> tuple[str, str]:
        """Add a user, and return (login, password)."""
        login, password = f"{secrets.token_hex(4)}@test", canary(secrets.token_urlsafe(12))
        options = ["--role", role, "--tenant", str(tenant_id), "--password-file", "-"]
        run_vigil(self.env, "user", "add", login, *options, given=password)
        return login, password

    def screen(self, *, since: int | None = None, tenant_id: int = 1, **claims: Any) -> "FeedSession":
        token = self.token(tenant_id=tenant_id, **claims)
        screen = FeedSession(self, since=since, token=token, tenant_id=tenant_id)
        self._open.callback(screen.close)
        return screen


def stop_tree(pid: int) -> list[int]:
    """Stop a process and all its descendants with SIGSTOP, and return their pids.

    PostgreSQL has a process for each connection.
    """
    os.kill(pid, signal.SIGSTOP)  # from here on it makes no further child
    stopped = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with suppress(ProcessLookupError, FileNotFoundError):
                stopped += stop_tree(int(child))
    return stopped


class HttpAddress:
    """An address (host:port) for requests and websocket sessions."""

    def __init__(self, outside: OutsideClients, base: str) -> None:
        self.base = base
        self.ring = outside.ring

    request = OutsideClients.request


class FeedSession:
    """A websocket session whose frames are decrypted and checked as they come."""

    def __init__(
        self, outside: OutsideClients | HttpAddress, *, since: int | None, token: str, tenant_id: int
    ) -> None:
        query = f"?since={since}" if since is not None else ""
        self._socket = websocket.create_connection(
            f"ws://{outside.base}/ws/noc/dashboard/{query}",
            header=[f"Authorization: Bearer {token}"],
            timeout=60,
        )
        self._ring = outside.ring
        self._tenant_id = tenant_id
        self._since = since or 0
        self.kids: set[str] = set()
        self._frames: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        self._all: list[dict[str, Any]] = []
        self.last_id = -1
        self.closed_with: int | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, **frame: Any) -> None:
        if frame["type"] == "resume":
            self._since = frame["since"]
        self._socket.send(json.dumps(frame))

    def wait(
        self, kind: str, test: Callable[[dict[str, Any]], bool] = lambda _: True, timeout_s: float = 15
    ) -> Any:
        """Return (time of arrival, frame) of the next frame of a type that passes the test."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                came_s, frame = self._frames.get(timeout=left_s)
            except queue.Empty:
                break
            if frame["type"] == kind and test(frame):
                return came_s, frame
        raise AssertionError(f"no {kind} frame came")

    def seen(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return all frames so far, of one type or of any."""
        return [frame for frame in self._all if kind in (None, frame["type"])]

    def close(self) -> None:
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                opcode, data = self._socket.recv_data()
            except (OSError, websocket.WebSocketException):
                return
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self.closed_with = int.from_bytes(data[:2], "big")
                return
            came_s = time.monotonic()
            frame = json.loads(data)
            if frame["type"] == "connected" and frame["resumed"]:
                self.last_id = self._since  # later frames come again
            if isinstance(frame.get("data"), str):
                after = -1 if frame["type"] == "snapshot" else self.last_id
                keys = self._ring.of_tenant(self._tenant_id)
                frame["data"] = encryption.open_frame(
                    data, keys=keys, tenant_id=self._tenant_id, after_id=after
                ).data
                self.kids.add(frame["kid"])
                self.last_id = frame["id"]
            self._all.append(frame)
            self._frames.put((came_s, frame))


class ReceiptSubscriber:
    """A subscriber to one topic, as a device subscribes to its receipts."""

    def __init__(self, outside: OutsideClients, topic: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", int(outside.env["MQTT_BROKER_PORT"])), timeout=20)
        self._sock.sendall(packets.connect(f"device-{outside.run}") + packets.subscribe(topic))
        self._reader = packets.PacketReader()
        self._heard: list[dict[str, Any]] = []
        self._subscribed = False
        while not self._subscribed:
            self._listen()

    def receive(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` messages."""
        while len(self._heard) < count:
            self._listen()
        return self._heard

    def _listen(self) -> None:
        for first, body in self._reader.feed(self._sock.recv(65_536)):
            self._subscribed |= first == packets.SUBACK
            if first & 0xF0 == packets.PUBLISH:
                message = packets.parse_publish(first, body, 0, len(body))
                self._sock.sendall(packets.puback([message.message_id]))
                self._heard.append(json.loads(message.payload))
