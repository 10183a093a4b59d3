"""Checks of the four servers that Vigil needs: each asks its server as Vigil itself does.

No check has a time limit of its own. Its caller sets one (`services.messaging.within`), and then
ends the check wherever it is. Therefore no check may wait for a server while it cleans up.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import redis as redis_library
from amqp.exceptions import AMQPError
from sqlalchemy import text

from gateway.mqtt import packets
from ops.servers import mqtt_connection
from ops.watchdog.sources import login_of_checks
from services.contracts.errors import Unavailable
from services.messaging.heartbeats import brief_connection, publish_confirmed
from services.messaging.topology import HEARTBEAT_CHECK
from services.platform import database as providers
from services.platform import redis_client
from services.platform.config import Config


def mqtt(config: Config) -> str:
    settings = config.mqtt
    name = f"vigil-health-{secrets.token_hex(4)}"
    username, password = login_of_checks(config)
    with mqtt_connection.connect(settings, name, username=username, password=password) as sock:
        sock.sendall(packets.DISCONNECT)
    return "answers, over TLS" if settings.ca_file else "answers"


def amqp(config: Config) -> str:
    """Publish a message and wait for its confirm.

    RabbitMQ with an alarm accepts connections, but no messages.
    """
    try:
        with brief_connection(config.amqp.uri) as connection:
            publish_confirmed(connection.channel(), HEARTBEAT_CHECK, b"")
    except (AMQPError, OSError) as error:
        raise Unavailable(f"RabbitMQ: {error or type(error).__name__}") from error
    return "answers"


def redis(config: Config) -> str:
    client = redis_client.make_redis(config)
    try:
        client.ping()
        persistence: Any = client.info("persistence")
    except redis_library.RedisError as error:
        raise Unavailable(f"Redis: {error}") from error
    finally:
        client.close()
    return "answers" + ("" if persistence.get("aof_enabled") else ", but loses its data in a crash")


def postgres(config: Config) -> str:
    database = providers.Database(config, name="health", pool_size=1)
    try:
        with database.across() as connection:
            return str(connection.execute(text("SELECT 'answers, ' || postgis_lib_version()")).scalar_one())
    finally:
        database.close()


DEPENDENCIES: dict[str, Callable[[Config], str]] = {
    "mqtt": mqtt,
    "amqp": amqp,
    "redis": redis,
    "postgres": postgres,
}
"""Checks by name. Each returns how the server answers, in words, or raises `Unavailable`."""
