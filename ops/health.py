"""Is everything well: every check is run, each ends within seconds, each says what to do."""

from __future__ import annotations

import json
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text

from gateway.mqtt import wire
from ops import dead_letters, line
from ops.commands import migrate
from services import providers
from services.config import Config
from services.errors import VigilError
from services.providers import transaction

TIMEOUT_S = 3.0
MIN_FREE_SHARE = 0.1


class Check(msgspec.Struct, frozen=True):
    """One component: whether it is well, and in words what was found."""

    name: str
    ok: bool
    detail: str


def all_checks(config: Config, *, state: Mapping[str, Any] | None, home: Path) -> list[Check]:
    """Run every check; none keeps another from being run."""
    checks: dict[str, Callable[[], str]] = {
        "mqtt": lambda: mqtt(config),
        "amqp": lambda: amqp(config),
        "redis": lambda: redis(config),
        "postgres": lambda: postgres(config),
        "migrations": migrations,
        "tenant": lambda: tenant(config),
        "http": lambda: http(config),
        "disk": lambda: disk(home),
        **{
            f"process {process['name']}": partial(running, process)
            for process in (state or {}).get("processes", [])
        },
    }
    return [_run(name, check) for name, check in checks.items()]


class Unwell(VigilError):  # noqa: N818
    """A check found something; the message says what and what to do."""


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:
        # Whatever went wrong, it is the finding: the other checks are run all the same.
        return Check(name, False, str(error) or type(error).__name__)


def mqtt(config: Config) -> str:
    mqtt = config.mqtt
    name = f"vigil-health-{secrets.token_hex(4)}"
    with line.connect(mqtt, name, username=mqtt.username, password=mqtt.password) as sock:
        sock.sendall(wire.DISCONNECT)
        return "answers, over TLS" if mqtt.ca_file else "answers"


def amqp(config: Config) -> str:
    count = len(dead_letters.look(config.amqp.uri))
    if count:
        raise Unwell(
            f"{count} dead letters; `vigil dlq list` shows them, `vigil dlq retry --all` sends them again"
        )
    return "answers, no dead letters"


def redis(config: Config) -> str:
    client = providers.make_redis(config)
    client.ping()
    persistent: Any = client.config_get("appendonly")
    return "answers" + ("" if persistent.get("appendonly") == "yes" else ", but keeps nothing over a crash")


def postgres(config: Config) -> str:
    with providers.Database(config, name="health", pool_size=1).across() as connection:
        return str(connection.execute(text("SELECT 'answers, ' || postgis_lib_version()")).scalar_one())


def migrations() -> str:
    with transaction(migrate.engine()) as connection:
        current, newest = migrate.revisions(connection)
    if current != newest:
        raise Unwell(f"the schema is at {current}, the code wants {newest}; run `vigil migrate up`")
    return f"at {current}"


def tenant(config: Config) -> str:
    """A life-safety alarm of a stranger belongs to the default tenant: it has to be there."""
    query = text("SELECT name FROM tenant WHERE tenant_id = :tenant_id")
    values = {"tenant_id": config.default_tenant_id}
    with providers.Database(config, name="health", pool_size=1).across() as connection:
        name = connection.execute(query, values).scalar_one_or_none()
    if name is None:
        raise Unwell(
            f"tenant {config.default_tenant_id} (default_tenant_id) is missing: a stranger's alarm would belong to"
            f" nobody; `vigil tenant add {config.default_tenant_id} NAME`"
        )
    return f"{config.default_tenant_id} is {name}"


def http(config: Config) -> str:
    url = f"http://{config.noc.host}:{config.noc.port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - our own address
            json.load(answer)
            return "ready"
    except urllib.error.HTTPError as error:
        raise Unwell(f"not ready: {error.read().decode(errors='replace')}") from error


def disk(home: Path) -> str:
    path = home if home.exists() else Path("/")
    usage = shutil.disk_usage(path)
    share = usage.free / usage.total
    if share < MIN_FREE_SHARE:
        raise Unwell(f"only {share:.0%} of the disk is free")
    return f"{share:.0%} free"


def running(process: Mapping[str, Any]) -> str:
    if process["state"] != "ready":
        raise Unwell(f"{process['state']}; `vigil logs {process['name']}` says why")
    return f"ready, {process['restarts']} restarts"
