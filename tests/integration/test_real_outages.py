"""Tests of the real servers' errors: which are outages, and which are the fault of the request."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
import redis
from sqlalchemy import Connection, Engine, text

from services.contracts.errors import Outage, Unavailable
from services.feed.stream import LEFT_ALONE_S, FeedWriter
from services.messaging.publisher import ChannelPool, EncodedMessage, check_rabbitmq
from services.platform import database, redis_client
from services.platform.config import Config
from services.platform.outages import outage_in

WAITED_S = 1.5
"""A second, on a machine that is busy."""


@pytest.fixture
def silent() -> Iterator[int]:
    """Yield the port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """Return a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def at_port(config: Config, port: int) -> Config:
    """Return the configuration with all three servers at that port."""
    return msgspec.structs.replace(
        config,
        database=msgspec.structs.replace(
            config.database, url=f"postgresql://vigil@127.0.0.1:{port}/vigil", connect_timeout_s=1
        ),
        redis=msgspec.structs.replace(config.redis, url=f"redis://127.0.0.1:{port}/0"),
        amqp=msgspec.structs.replace(
            config.amqp, uri=f"amqp://vigil:vigil@127.0.0.1:{port}/vigil", publish_deadline_s=1.0
        ),
    )


def outage_of(work: Callable[[], object]) -> str:
    with pytest.raises(Outage) as caught:
        work()
    return caught.value.server


def test_a_server_that_is_not_there_is_an_outage_whichever_it_is(config: Config, closed: int) -> None:
    without = at_port(config, closed)
    assert outage_of(lambda: database.check_database(without)) == "postgres"
    assert outage_of(lambda: redis_client.check_redis(without)) == "redis"
    assert outage_of(lambda: check_rabbitmq(without.amqp)) == "amqp"
    letter = EncodedMessage("anything", "anything", b"", {})
    assert outage_of(lambda: ChannelPool(without.amqp, links=1).send([letter])) == "amqp"


def test_servers_that_answer_are_no_outage(config: Config) -> None:
    database.check_database(config)
    redis_client.check_redis(config)
    check_rabbitmq(config.amqp)


def test_a_server_that_never_says_a_word_is_an_outage(config: Config, silent: int) -> None:
    hanging = at_port(config, silent)
    assert outage_of(lambda: redis_client.check_redis(hanging)) == "redis"
    letter = EncodedMessage("anything", "anything", b"", {})
    assert outage_of(lambda: ChannelPool(hanging.amqp, links=1).send([letter])) == "amqp"


def test_a_redis_that_never_says_a_word_is_waited_for_once_and_then_left_alone_for_a_moment(
    config: Config, silent: int
) -> None:
    # Given the feed of a Redis that hangs
    feed = FeedWriter.from_config(at_port(config, silent))

    def publish() -> float:
        began_s = time.monotonic()
        assert outage_of(lambda: feed.publish(1, "alert_updated", {})) == "redis"
        return time.monotonic() - began_s

    # When frames are published one after the other
    first_s, *others_s = [publish() for _ in range(20)]
    time.sleep(LEFT_ALONE_S)  # until Redis is asked again
    later_s = publish()

    # Then the first one waits for one second, the others do not wait, and one waits again later
    assert 0.5 < first_s < WAITED_S
    assert max(others_s) < 0.1
    assert 0.5 < later_s < WAITED_S


def test_each_client_of_redis_gives_up_after_a_second(config: Config, silent: int) -> None:
    hanging = at_port(config, silent)
    sentinel = msgspec.structs.replace(
        hanging,
        redis=msgspec.structs.replace(hanging.redis, url=f"redis+sentinel://127.0.0.1:{silent}/main/0"),
    )
    for settings in (hanging, sentinel):
        began_s = time.monotonic()
        assert outage_of(lambda settings=settings: redis_client.check_redis(settings)) == "redis"  # type: ignore[misc]
        assert time.monotonic() - began_s < WAITED_S


def kill_oneself(connection: Connection) -> None:
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def write_where_nothing_may_be_written(connection: Connection) -> None:
    connection.execute(text("SET TRANSACTION READ ONLY"))
    connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (77, 'x')"))


def run_out_of_connections(connection: Connection) -> None:
    connection.execute(text("DO $$ BEGIN RAISE EXCEPTION USING errcode = '53300'; END $$"))


def run_out_of_disk(connection: Connection) -> None:
    connection.execute(text("DO $$ BEGIN RAISE EXCEPTION USING errcode = 'disk_full'; END $$"))


@pytest.mark.parametrize(
    "work", [kill_oneself, write_where_nothing_may_be_written, run_out_of_connections, run_out_of_disk]
)
def test_a_database_that_takes_nothing_from_anybody_is_an_outage(
    engine: Engine, work: Callable[[Connection], None]
) -> None:
    def attempt() -> None:
        with database.transaction(engine) as connection:
            work(connection)

    assert outage_of(attempt) == "postgres"


def wait_for_a_lock(connection: Connection) -> None:
    connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
    connection.execute(text("LOCK TABLE tenant IN ACCESS EXCLUSIVE MODE"))


def take_too_long(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = '50ms'"))
    connection.execute(text("SELECT pg_sleep(5)"))


def meet_a_deadlock(connection: Connection) -> None:
    connection.execute(text("DO $$ BEGIN RAISE EXCEPTION USING errcode = 'deadlock_detected'; END $$"))


@pytest.mark.parametrize("work", [wait_for_a_lock, take_too_long, meet_a_deadlock])
def test_a_statement_that_waits_too_long_is_no_outage(
    engine: Engine, work: Callable[[Connection], None]
) -> None:
    # Given somebody who holds a lock
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE tenant IN ACCESS SHARE MODE"))

        # When a statement waits for it, or takes too long by itself
        with pytest.raises(Unavailable) as caught, database.transaction(engine) as connection:
            work(connection)

    # Then it is tried again as after any other fault
    assert not isinstance(caught.value, Outage)


def test_a_value_of_the_wrong_kind_in_redis_is_no_outage(config: Config) -> None:
    client = redis_client.make_redis(config)
    key = f"{config.redis.key_prefix}:text"
    client.set(key, "text")
    with pytest.raises(redis.ResponseError) as caught:
        client.xadd(key, {"a": "b"})
    assert outage_in(caught.value) is None
    client.delete(key)


def test_an_exchange_that_is_not_there_is_no_outage(config: Config) -> None:
    letter = EncodedMessage("no-such-exchange", "anything", b"", {})
    with pytest.raises(Unavailable) as caught:
        ChannelPool(config.amqp, links=1).send([letter])
    assert not isinstance(caught.value, Outage)
