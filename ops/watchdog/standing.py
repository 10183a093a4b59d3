"""Connections to the four servers that are kept between two checks.

A log-in costs far more than a check.

When a check fails on a kept connection, it is repeated on a new one, because the server may have
closed the old one. Each connection is renewed from time to time, so that a server that takes no new
connections is noticed too. No check has a time limit of its own. Its caller sets one, and then ends
the check wherever it is.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import redis as redis_library
from amqp.exceptions import AMQPError
from sqlalchemy import text

from gateway.mqtt import packets
from ops.servers import mqtt_connection
from ops.watchdog.sources import login_of_checks
from services.contracts.errors import Unavailable
from services.messaging.heartbeats import abort, publish_confirmed
from services.messaging.publisher import connect
from services.messaging.topology import HEARTBEAT_CHECK
from services.platform import database, redis_client
from services.platform.config import Config

RENEW_S = 30.0
"""Longest use of a connection."""
PINGRESP = b"\xd0\x00"


class ServerConnection(Protocol):
    """A connection to a server.

    `ask` raises an error when the server does not answer as it should.
    """

    def ask(self) -> None: ...

    def close(self) -> None:
        """Close the connection without waiting for the server."""


class MqttConnection:
    """A connection to the broker that pings it."""

    def __init__(self, config: Config) -> None:
        username, password = login_of_checks(config)
        name = f"vigil-health-{secrets.token_hex(4)}"
        self._socket: socket.socket = mqtt_connection.connect(
            config.mqtt, name, username=username, password=password
        )

    def ask(self) -> None:
        self._socket.sendall(packets.PINGREQ)
        answer = self._socket.recv(len(PINGRESP))
        if answer != PINGRESP:
            raise Unavailable(f"the MQTT broker answered a ping with {answer!r}")

    def close(self) -> None:
        self._socket.close()


class AmqpConnection:
    """A connection to RabbitMQ that publishes a message and waits for its confirm.

    RabbitMQ with an alarm takes no message.
    """

    def __init__(self, config: Config) -> None:
        self._connection = connect(config.amqp.uri)
        try:
            self._channel = self._connection.channel()
        except BaseException:
            self.close()
            raise

    def ask(self) -> None:
        try:
            publish_confirmed(self._channel, HEARTBEAT_CHECK, b"")
        except (AMQPError, OSError) as error:
            raise Unavailable(f"RabbitMQ: {error or type(error).__name__}") from error

    def close(self) -> None:
        abort(self._connection)


class RedisConnection:
    """A connection to Redis."""

    def __init__(self, config: Config) -> None:
        self._client = redis_client.make_redis(config)

    def ask(self) -> None:
        try:
            self._client.ping()
        except redis_library.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error

    def close(self) -> None:
        self._client.close()


class PostgresConnection:
    """A connection to PostgreSQL that queries PostGIS."""

    _QUESTION = text("SELECT postgis_lib_version()")

    def __init__(self, config: Config) -> None:
        self._database = database.Database(config, name="health", pool_size=1)

    def ask(self) -> None:
        with self._database.across() as connection:
            connection.execute(self._QUESTION)

    def close(self) -> None:
        self._database.close()


KINDS: dict[str, Callable[[Config], ServerConnection]] = {
    "mqtt": MqttConnection,
    "amqp": AmqpConnection,
    "redis": RedisConnection,
    "postgres": PostgresConnection,
}


class StandingConnection:
    """The connection to one server. For one green thread at a time."""

    def __init__(
        self, make: Callable[[], ServerConnection], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._connected: Any = None
        self._made_s = 0.0

    @classmethod
    def to(cls, server: str, config: Config) -> StandingConnection:
        """Return the connection to a server of `KINDS`; it is made at the first check."""
        return cls(lambda: KINDS[server](config))

    def ask(self) -> None:
        """Return when the server answers. Raise the error when it does not."""
        stood = self._connected is not None and self._clock() - self._made_s < RENEW_S
        if not stood:
            self.close()
            self._ask_new()
            return

        try:
            self._connected.ask()
        except Exception:
            self.close()
            self._ask_new()
        except BaseException:
            self.close()  # ended at its deadline: the next data on this connection would answer this check
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.close()

    def _ask_new(self) -> None:
        self._connected, self._made_s = self._make(), self._clock()
        try:
            self._connected.ask()
        except BaseException:
            self.close()
            raise
