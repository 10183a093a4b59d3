"""Tests of one of several servers that dies, or that has lost its former role."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import eventlet
import msgspec
import pytest
from kombu import Connection as Amqp
from kombu import Queue
from sqlalchemy import text

from gateway.mqtt import packets
from gateway.mqtt.client import Connection
from gateway.mqtt.decoding.topics import FILTERS
from gateway.mqtt.lane import check_instance
from gateway.noc.auth.quotas import Quotas
from gateway.noc.websocket.hub import Hub
from services.contracts.errors import Misconfigured, Unavailable
from services.feed.encryption import PlainSealer
from services.feed.stream import FeedReader, FeedWriter
from services.messaging import topology
from services.messaging.publisher import ChannelPool, EncodedMessage
from services.platform import database as providers
from services.platform import redis_client
from services.platform.config import Config, MqttSettings
from services.platform.database import Database
from tests.support import clusters
from tests.support.clusters import RedisWithSentinels
from tests.support.mqtt_device import MqttClient

DEAD_PORT = 1
"""A port where nobody listens."""


def wait_until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass in time"
        eventlet.sleep(0.02)


def test_a_connection_that_may_no_longer_write_is_dropped(database: Database) -> None:
    """This is a former primary's answer to its old connections.

    The next connection finds the new primary.
    """
    with database.across() as connection:
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        [refusing] = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
    with pytest.raises(Unavailable, match="read-only"), database.across() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == refusing
        connection.execute(text("INSERT INTO message_seen SELECT * FROM message_seen"))
    with database.across() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() != refusing
        connection.execute(text("INSERT INTO message_seen SELECT * FROM message_seen"))


def test_of_several_database_hosts_the_one_that_takes_writes_is_found(config: Config) -> None:
    url = providers.database_url(config.database.url)
    login, _, rest = url.removeprefix("postgresql+psycopg2://").rpartition("@")
    address, _, name = rest.partition("/")
    several = f"postgresql://{login}@127.0.0.1:{DEAD_PORT},{address}/{name}"
    changed = msgspec.structs.replace(config, database=msgspec.structs.replace(config.database, url=several))
    database = Database(changed, name="test", pool_size=1)
    with database.across() as connection:
        assert connection.exec_driver_sql("SELECT current_database()").scalar_one() == name
    database.close()


def test_of_several_nodes_of_rabbitmq_one_that_answers_takes_the_message(config: Config) -> None:
    login, _, address = config.amqp.uri.rpartition("@")
    several = f"{login}@127.0.0.1:{DEAD_PORT},127.0.0.1:{DEAD_PORT + 1},{address}"
    amqp = msgspec.structs.replace(config.amqp, uri=several)
    outlet = ChannelPool(amqp, links=1)
    own = f"test-{secrets.token_hex(6)}"  # other tests' dead letters do not count
    outlet.declare([Queue(own, durable=True, queue_arguments={"x-queue-type": "quorum"})])
    outlet.send([EncodedMessage("", own, b"x", {}, message_id="of-several")])
    outlet.close()
    with Amqp(config.amqp.uri) as connection, connection.channel() as channel:
        assert channel.basic_get(own).properties["message_id"] == "of-several"
        channel.queue_delete(own)


def test_when_no_node_of_rabbitmq_answers_that_is_unavailable_and_no_password_is_told(config: Config) -> None:
    amqp = msgspec.structs.replace(config.amqp, uri="amqp://vigil:s3cret@127.0.0.1:1,127.0.0.1:2/vigil")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2") as refused:
        ChannelPool(amqp, links=1).send([EncodedMessage("", "nowhere", b"x", {})])
    assert "s3cret" not in str(refused.value)


def test_the_queue_that_requests_waited_in_before_is_taken_away(config: Config) -> None:
    with Amqp(config.amqp.uri) as connection:
        with connection.channel() as channel:
            channel.exchange_declare("nameko-rpc", "topic", durable=True, auto_delete=False)
            channel.queue_declare("rpc-of-old", durable=True, auto_delete=False)
            channel.queue_bind("rpc-of-old", "nameko-rpc", "of-old.*")
            channel.basic_consume("rpc-of-old", consumer_tag="an older process")
            topology.retire_rpc_queue(connection, "of-old")
            message = channel.prepare_message(b"x")
            channel.basic_publish(message, "nameko-rpc", "of-old.ask")
            assert channel.queue_declare("rpc-of-old", passive=True).message_count == 0
        topology.retire_rpc_queue(connection, "of-old")
        topology.retire_rpc_queue(connection, "of-old")
        with connection.channel() as channel, pytest.raises(Exception, match="NOT_FOUND"):
            channel.queue_declare("rpc-of-old", passive=True)


class Member:
    """One of several gateways. It acknowledges each message at once."""

    def __init__(self, mqtt: MqttSettings, instance: str, **changes: object) -> None:
        own = {"instance": instance, "shared_group": "vigil", "shared_session_expiry_s": 60, **changes}
        self.heard: list[bytes] = []
        self._generation = 0
        self.connection = Connection(
            msgspec.structs.replace(mqtt, **own),
            lane="bulk",
            filters=FILTERS["bulk"],
            receive_maximum=100,
            on_message=self._take,
            on_connected=lambda generation: setattr(self, "_generation", generation),
        )
        self._serving = eventlet.spawn(self.connection.serve)

    def _take(self, _topic: str, message: packets.PublishPacket) -> None:
        payload, mid = message.payload, message.message_id
        self.heard.append(payload)
        eventlet.spawn_n(self.connection.ack, [mid], generation=self._generation)

    @property
    def connected(self) -> bool:
        return self.connection._client is not None

    def die(self) -> None:
        self._serving.kill()


def test_gateways_of_a_group_share_what_comes_and_what_waits_for_one_is_kept_for_it(config: Config) -> None:
    # There is no name, as this machine's own clients may connect. The gateway's rights are for
    # topics without a prefix.
    mqtt = msgspec.structs.replace(config.mqtt, username="", client_id=f"of-{config.mqtt.topic_prefix[:-1]}")
    device = MqttClient(mqtt.port, "device-of-all")
    first, second = Member(mqtt, "1"), Member(mqtt, "2")

    def send(count: int, what: str) -> None:
        for number in range(count):
            device.publish(f"{mqtt.topic_prefix}guard/guard-1/gps", f"{what} {number}".encode())

    def heard(what: str) -> int:
        return sum(payload.startswith(what.encode()) for one in (first, second) for payload in one.heard)

    # A member is in the group once it gets its share.
    wait_until(lambda: (send(2, "hello"), eventlet.sleep(0.1), first.heard and second.heard)[-1])
    send(20, "both")
    wait_until(lambda: heard("both") == 20)
    second.die()
    send(20, "away")
    wait_until(lambda: heard("away") >= 10)

    # Before it is retired, it takes the messages that waited for it, and no others.
    leaving = second = Member(mqtt, "2", leaving=True)
    wait_until(lambda: len([p for p in leaving.heard if p.startswith(b"away")]) == 10)
    send(20, "after")
    wait_until(lambda: sum(payload.startswith(b"after") for payload in first.heard) == 20)
    assert not any(payload.startswith(b"after") for payload in leaving.heard)
    for member in (first, leaving):
        member.die()
    device.sock.close()


def test_a_gateway_of_a_group_needs_a_name(config: Config) -> None:
    check_instance(msgspec.structs.replace(config.mqtt, shared_group="vigil", instance="a"))
    with pytest.raises(Misconfigured, match="VIGIL_INSTANCE"):
        check_instance(msgspec.structs.replace(config.mqtt, shared_group="vigil"))


@pytest.fixture
def stores() -> Iterator[RedisWithSentinels]:
    with (
        tempfile.TemporaryDirectory(prefix="vigil-redis-") as directory,
        RedisWithSentinels(Path(directory)) as made,
    ):
        yield made


class Watching:
    """A websocket session with a user, as the hub sees it."""

    def __init__(self) -> None:
        self.principal: object = msgspec.defstruct("P", [("login", str), ("role", str), ("tenant_id", int)])(
            "ann", "viewer", 1
        )
        self.ended_with: int | None = None

    def end(self, code: int, _reason: str) -> None:
        self.ended_with = code


def test_the_feed_goes_on_when_the_master_of_redis_dies(config: Config, stores: RedisWithSentinels) -> None:
    changed = msgspec.structs.replace(config, redis=msgspec.structs.replace(config.redis, url=stores.url))
    writer = FeedWriter(
        redis_client.make_redis(changed), PlainSealer(), prefix=changed.redis.key_prefix, max_frames=100
    )
    reader = FeedReader.from_config(changed)
    hub, watching = Hub(reader, Quotas.from_config(changed)), Watching()
    hub.pump()
    hub.open_socket(watching)  # type: ignore[arg-type]
    before = writer.publish(1, "t", "before")
    wait_until(lambda: reader.holds(1, before))
    stores.kill(stores.master())

    def published() -> int:
        try:
            return writer.publish(1, "t", "after")
        except Unavailable:
            return 0

    killed_s = time.monotonic()
    after = clusters.until(published)
    print(f"the feed took frames again after {time.monotonic() - killed_s:.1f} s")
    assert after > before, "ids grow over a failover"

    def pumped() -> bool:
        try:
            hub.pump()
        except Unavailable:
            return False
        return watching.ended_with is not None

    wait_until(pumped)
    assert watching.ended_with == 4408
    assert not reader.holds(1, before), "who comes back with an older frame is given a snapshot"
    assert not reader.holds(1, after), "and with one from before the gateway had noticed"
    assert reader.holds(1, writer.publish(1, "t", "later"))
