"""Checks whether the servers behind a process answer, when the work of the process stands still.

The process is at fault only when they answer. The first bytes of each protocol are enough, and need
no login. The kernel of a frozen server accepts the connection, but no answer comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import eventlet
from eventlet.green import socket, ssl

from ops.servers.privileges import of_process
from services.platform.config import Config
from services.platform.server_lists import amqp_nodes, hosts_of

ANSWER_S = 3.0


class ServerAddress(NamedTuple):
    """A server to ask.

    `hello` holds bytes that any server of this kind answers. One answer from any of `hosts` is
    enough.
    """

    name: str
    hello: bytes
    hosts: list[tuple[str, int]]
    encrypted: bool


POSTGRES_SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
REDIS_PING = b"PING\r\n"


def servers_of(process: str, config: Config) -> Iterator[ServerAddress]:
    """Yield the servers that a process has a login for."""
    secrets = of_process(process).secrets
    if "DATABASE_URL" in secrets:
        yield ServerAddress("postgres", POSTGRES_SSL_REQUEST, _hosts(config.database.url, 5432), False)
    if "REDIS_URL" in secrets:
        url = config.redis.url
        yield ServerAddress("redis", REDIS_PING, _hosts(url, 6379), url.startswith("rediss:"))
    if "AMQP_URI" in secrets:
        nodes = ";".join(amqp_nodes(config.amqp.uri))
        encrypted = nodes.startswith("amqps:")
        yield ServerAddress("amqp", AMQP_HEADER, _hosts(nodes, 5671 if encrypted else 5672), encrypted)


def away(process: str, config: Config) -> list[str]:
    """Return the names of the servers that do not answer now; ask all of them at once."""
    servers = list(servers_of(process, config))
    asked = [(server.name, eventlet.spawn(answers, server)) for server in servers]
    return [name for name, thread in asked if not thread.wait()]


def answers(server: ServerAddress) -> bool:
    """Return whether one host of a server sends anything within `ANSWER_S`."""
    threads = [eventlet.spawn(_answers_at, server, host, port) for host, port in server.hosts]
    found = [thread.wait() for thread in threads]
    return any(found)


def _answers_at(server: ServerAddress, host: str, port: int) -> bool:
    try:
        with eventlet.Timeout(ANSWER_S, TimeoutError), socket.create_connection((host, port)) as sock:
            stream = _unverified().wrap_socket(sock) if server.encrypted else sock
            stream.sendall(server.hello)
            return bool(stream.recv(1))
    except OSError:
        return False


def _unverified() -> ssl.SSLContext:
    """Return a context without verification: no data are sent, and only an answer counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hosts(uri: str, usual_port: int) -> list[tuple[str, int]]:
    found = []
    for where in hosts_of(uri).split(","):
        host, colon, port = where.rpartition(":")
        if colon and port.isdigit():
            found.append((host.strip("[]"), int(port)))
        else:
            found.append((where.strip("[]"), usual_port))
    return found
