"""Settings that name several servers, so that Vigil survives the death of one. Pure.

AMQP_URI      amqp://user:password@a/vigil;amqp://user:password@b/vigil
DATABASE_URL  postgresql://user:password@a:5432,b:5432/vigil   (libpq's own form)
REDIS_URL     redis+sentinel://user:password@a:26379,b:26379/mymaster/0
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from services.contracts.errors import Misconfigured

SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
POSTGRES_PORT = 5432
PRIMARY = "target_session_attrs"
LOGIN = re.compile(r"(?<=://)(?:[^@/;]*@)?")
PASSWORD = re.compile(r"(?<=://)([^:@/;]*):[^@/;]*@")


class SentinelAddresses(NamedTuple):
    """The addresses of Redis's sentinels, and the master to ask them for.

    `username` and `password` are the master's.
    """

    hosts: list[tuple[str, int]]
    master: str
    database: int
    username: str | None
    password: str | None
    sentinel_password: str | None


def amqp_nodes(uri: str) -> list[str]:
    """Return the URI of each node, in the order given."""
    return [one for part in uri.split(";") if part.strip() for one in _each_host(part.strip())]


def _each_host(uri: str) -> list[str]:
    split = urlsplit(uri)
    login, at, where = split.netloc.rpartition("@")
    if "," not in where:
        return [uri]
    return [split._replace(netloc=f"{login}{at}{host}").geturl() for host in where.split(",")]


def amqp_shuffled(uri: str, shuffle: Callable[[list[str]], None]) -> str:
    """Return the same nodes in another order.

    Without this, all processes would connect to the first node.
    """
    nodes = amqp_nodes(uri)
    shuffle(nodes)
    return ";".join(nodes)


def without_passwords(uri: str) -> str:
    """Return a URI for logs: user names stay, passwords do not."""
    return PASSWORD.sub(r"\1:**@", uri)


def with_login(uri: str, login: str, password: str) -> str:
    """Return a setting with another user's login, in each of its URIs."""
    return LOGIN.sub(f"{quote(login, safe='')}:{quote(password, safe='')}@", uri)


def hosts_of(uri: str) -> str:
    """Return host:port of each server that a setting names, separated by commas."""
    return ",".join(_hosts_of_one(part) for part in uri.split(";"))


def _hosts_of_one(uri: str) -> str:
    split = urlsplit(uri)
    if found := split.netloc.rpartition("@")[2]:
        return found
    query = parse_qsl(split.query)
    hosts = [host for name, value in query if name == "host" for host in value.split(",")]
    ports = [port for name, value in query if name == "port" for port in value.split(",")]
    return ",".join(_with_port(host, ports[number : number + 1]) for number, host in enumerate(hosts))


def _with_port(host: str, port: list[str]) -> str:
    return f"{host}:{port[0]}" if port else host


def database_of_many(url: str) -> str:
    """Return a URL of several hosts in the form that SQLAlchemy takes; other URLs as they are.

    The result asks for a host that takes writes. Without `target_session_attrs`, the driver would
    use the first host that answers, even a replica.
    """
    split = urlsplit(url)
    login, _, where = split.netloc.rpartition("@")
    query = parse_qsl(split.query)
    hosts = where.split(",") if "," in where else []
    if not hosts and sum(name == "host" for name, _ in query) < 2 and "," not in dict(query).get("host", ""):
        return url

    further = [(name, value) for name, value in query if name not in ("host", "port") or not hosts]
    named = [("host", host if ":" in host else f"{host}:{POSTGRES_PORT}") for host in hosts]

    if PRIMARY not in dict(further):
        further.append((PRIMARY, "read-write"))

    at = f"{login}@" if login else ""
    netloc = at if hosts else split.netloc
    return (
        f"{split.scheme}://{netloc}{split.path}?{urlencode([*named, *further], quote_via=quote, safe=':/,')}"
    )


def sentinels(url: str) -> SentinelAddresses | None:
    """Return the sentinels of a `redis+sentinel://` URL; None for any other URL.

    Raises:
        Misconfigured: The URL names no sentinel or no master, or a port or the database is no
            number.
    """
    if not url.startswith(f"{SENTINEL_SCHEME}://"):
        return None

    split = urlsplit(url)
    login, _, where = split.netloc.rpartition("@")
    username, _, password = login.partition(":")
    master, _, database = split.path.strip("/").partition("/")

    try:
        hosts = [_sentinel(part) for part in where.split(",") if part]
        number = int(database or 0)
    except ValueError as error:
        raise Misconfigured(f"REDIS_URL: a port or the database is not a number: {error}") from error

    if not hosts or not master:
        raise Misconfigured(
            "REDIS_URL names no sentinel or no master; write"
            f" {SENTINEL_SCHEME}://host1:{SENTINEL_PORT},host2:{SENTINEL_PORT}/mymaster/0"
        )

    own = dict(parse_qsl(split.query)).get("sentinel_password")
    return SentinelAddresses(hosts, master, number, unquote(username) or None, unquote(password) or None, own)


def _sentinel(part: str) -> tuple[str, int]:
    host, _, port = part.partition(":")
    return host, int(port or SENTINEL_PORT)
