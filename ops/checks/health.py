"""The checks of `vigil health`. Each says what was found and where to read on.

All checks run at once, each with its own deadline. The whole ends within 15 s, even when a check
hangs.
"""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import eventlet
import msgspec
from sqlalchemy import text

from ops.checks.dependencies import DEPENDENCIES
from ops.data.schema import revisions as schema
from ops.local.supervisor import restarts_in_words, state_in_words
from ops.servers.queues import depths
from ops.watchdog import measurements
from ops.watchdog.probe import LaneName, LaneProbe
from services.contracts.errors import VigilError
from services.contracts.source_status import in_words
from services.messaging import within
from services.messaging.topology import DEAD_QUEUE
from services.platform import database as providers
from services.platform import metrics_export
from services.platform.config import Config
from services.platform.database import transaction
from services.supervision import restarts

TIMEOUT_S = 3.0
CHECK_DEADLINE_S = 5.0
PATH_DEADLINE_S = 6.0
"""Time limit of a test message.

After it, and until the check's deadline, the place is searched where the message was last seen.
"""
PATH_CHECK_DEADLINE_S = 11.0
MIN_FREE_SHARE = 0.1
# The same limits as in prometheus/rules. An operator who has mended the cause of an alert sees it
# here.
MAX_CLOCK_OFFSET_S = 1.0
CERTIFICATE_NOTICE = timedelta(days=21)
PARTITION_NOTICE = timedelta(days=7)
MAX_BACKUP_AGE = timedelta(hours=26)
STALL_NOTICE = timedelta(hours=1)
MAX_UNACCOUNTED = 10
WITHOUT_SHIFTS = text(
    "SELECT tenant_id FROM tenant t WHERE settings @> '{\"positions_only_on_shift\": true}' AND NOT EXISTS ("
    "SELECT FROM guard_shift s WHERE s.tenant_id = t.tenant_id AND s.ends_at > now() - interval '10 days')"
    " ORDER BY tenant_id"
)
MAX_WAITING_ALERTS, MAX_WAITING = 50, 1000
RUNBOOK = "docs/runbook.md#"
PAGES = {
    **dict.fromkeys(DEPENDENCIES, "vigildependencydown"),
    "migrations": "vigilmigrationspending",
    "tenant": "vigilmigrationspending",
    "shifts": "vigilshiftsmissing",
    "http": "vigildown",
    "disk": "vigildiskfull",
    "clock": "vigilclockoff",
    "certificate": "vigilcertificateexpiring",
    "dead-letters": "vigildeadletters",
    "queues": "vigilqueuebacklog",
    "consumers": "vigilconsumerpaused",
    "events": "vigileventsunaccounted",
    "partitions": "vigilpartitionsmissing",
    "backup": "vigilbackupold",
    "restarts": "vigilloopstalled",
    "message-path-alert": "vigilblind",
    "message-path-bulk": "vigilblind",
}
"""Page of the runbook for each check that fails. For a process it is `vigilprocessmissing`."""


class HealthCheck(msgspec.Struct, frozen=True):
    """Result of one check: whether it passed, what was found, and the runbook's page about it."""

    name: str
    ok: bool
    detail: str
    runbook: str


def all_checks(config: Config, *, state: Mapping[str, Any] | None, home: Path) -> list[HealthCheck]:
    """Run every check, all at once. A failing check does not keep the others from running.

    Call it in a process that eventlet has patched.
    """
    checks: dict[str, Callable[[], str]] = {
        **{name: partial(answers, config) for name, answers in DEPENDENCIES.items()},
        "migrations": migrations,
        "tenant": lambda: tenant(config),
        "shifts": lambda: with_database(config, shifts),
        "http": lambda: http(config),
        "disk": lambda: disk(home),
        "clock": lambda: with_database(config, clock),
        "certificate": lambda: certificate(config, home),
        "dead-letters": lambda: dead_letters(config),
        "queues": lambda: waiting(config),
        "consumers": paused,
        "events": unaccounted,
        "partitions": lambda: with_database(config, partitions),
        "backup": lambda: backup(config, home),
        "restarts": stalls,
        "message-path-alert": lambda: message_path(config, "alert"),
        "message-path-bulk": lambda: message_path(config, "bulk"),
        **{
            f"process {process['name']}": partial(running, process)
            for process in (state or {}).get("processes", [])
        },
    }

    pool = eventlet.GreenPool(len(checks))
    return list(pool.starmap(_run, checks.items()))


class CheckFailed(VigilError):  # noqa: N818
    """A check found something. The message says what was found and what to do."""


def _run(name: str, check: Callable[[], str]) -> HealthCheck:
    page = RUNBOOK + PAGES.get(name, "vigilprocessmissing")
    limit_s = PATH_CHECK_DEADLINE_S if name.startswith("message-path-") else CHECK_DEADLINE_S
    try:
        return HealthCheck(name, True, within(limit_s, check), page)
    except Exception as error:
        # Any error is the finding of this check. The other checks still run.
        return HealthCheck(name, False, str(error) or type(error).__name__, page)


def with_database(config: Config, check: Callable[[providers.Database], str]) -> str:
    database = providers.Database(config, name="health", pool_size=1)
    try:
        return check(database)
    finally:
        database.close()


def migrations() -> str:
    """Compare every table, column, function, index and right with the code.

    The number of the revision alone does not prove that they are there.
    """
    with transaction(schema.engine()) as connection:
        return f"at {schema.check(connection)}, as this version needs it"


def tenant(config: Config) -> str:
    """Check that the default tenant exists: life-safety alarms of unknown sources belong to it."""
    query = text("SELECT name FROM tenant WHERE tenant_id = :tenant_id")
    values = {"tenant_id": config.default_tenant_id}

    def ask(database: providers.Database) -> str:
        with database.across() as connection:
            return connection.execute(query, values).scalar_one_or_none() or ""

    name = with_database(config, ask)
    if not name:
        raise CheckFailed(
            f"tenant {config.default_tenant_id} (default_tenant_id) is missing: an alarm of an unknown"
            f" source would belong to no tenant; `vigil tenant add {config.default_tenant_id} NAME`"
        )

    return f"{config.default_tenant_id} is {name}"


def shifts(database: providers.Database) -> str:
    """Check that tenants which store positions on shift only have shifts.

    Without a shift no position is stored, and nothing else reports it.
    """
    with database.across() as connection:
        found = [str(tenant_id) for tenant_id in connection.execute(WITHOUT_SHIFTS).scalars()]
    if found:
        raise CheckFailed(
            f"tenant {', '.join(found)} stores positions on shift only, and has had no shift for 10 days:"
            " no position is stored; `vigil shift import FILE`, or"
            f" `vigil tenant set {found[0]} positions_only_on_shift off`"
        )
    return "every tenant that stores positions on shift only has shifts"


def http(config: Config) -> str:
    url = f"http://{config.noc.host}:{config.noc.port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - our own address
            json.load(answer)
            return "ready"
    except urllib.error.HTTPError as error:
        raise CheckFailed(f"not ready: {error.read().decode(errors='replace')}") from error


def disk(home: Path) -> str:
    share = measurements.free_share(home)
    if share < MIN_FREE_SHARE:
        raise CheckFailed(f"only {share:.0%} of the disk that holds {home} is free")
    return f"{share:.0%} free"


def clock(database: providers.Database) -> str:
    offset_s = measurements.clock_offset_s(database)
    if abs(offset_s) > MAX_CLOCK_OFFSET_S:
        raise CheckFailed(
            f"this machine's clock is {offset_s:+.1f} s off PostgreSQL's; see that both run NTP"
        )
    return f"{offset_s * 1000:+.0f} ms off PostgreSQL's"


def certificate(config: Config, home: Path) -> str:
    found = sorted(measurements.certificates(config, home), key=lambda item: item[1])
    if not found:
        return "none in use"
    name, end = found[0]
    left = end - datetime.now(UTC)
    if left < CERTIFICATE_NOTICE:
        raise CheckFailed(f"{name} runs out on {end:%Y-%m-%d}, in {left.days} days; renew it")
    return f"{name} is the first to run out, in {left.days} days"


def dead_letters(config: Config) -> str:
    count = depths.depths(config, [DEAD_QUEUE]).get(DEAD_QUEUE, 0)
    if count:
        raise CheckFailed(
            f"{count} dead letters; `vigil dlq list` shows them, `vigil dlq retry --all` sends them again"
        )
    return "none"


def waiting(config: Config) -> str:
    names = depths.names(config)
    found = depths.depths(config, names)

    missing = sorted(set(names) - set(found))
    if missing:
        raise CheckFailed(
            f"{len(missing)} queues are not there, {missing[0]} among them; run `vigil topology`"
        )

    overfull = depths.overfull(found, alert=MAX_WAITING_ALERTS, bulk=MAX_WAITING)
    if overfull:
        raise CheckFailed("; ".join(overfull))

    return f"{sum(found.values())} messages wait in {len(found)} queues"


def paused() -> str:
    """Check for consumers of this host that wait for a server."""
    found = [labels for _, labels, value in metrics_export.samples({"vigil_consumer_paused"}) if value]
    if found:
        servers = ", ".join(sorted({labels["server"] for labels in found}))
        raise CheckFailed(
            f"{len(found)} consumers wait until {servers} can be used again; they continue by themselves"
        )
    return "none waits for a server"


def unaccounted() -> str:
    """Check the balance of events that the watchdog keeps (`ops/watchdog/accounts`)."""
    found = [value for _, _, value in metrics_export.samples({"vigil_events_unaccounted"})]
    if not found or math.isnan(found[0]):
        return "not counted on this host"
    if found[0] > MAX_UNACCOUNTED:
        raise CheckFailed(f"{found[0]:.0f} events are neither done nor in any queue")
    return "all are done, in a queue or in hand"


def partitions(database: providers.Database) -> str:
    found = measurements.partitions(database)
    strays = [f"{part.table} ({part.default_rows})" for part in found if part.default_rows]
    if strays:
        raise CheckFailed(
            f"rows in the default partition of {', '.join(strays)}; `vigil retention run` moves them"
        )

    soon = datetime.now(UTC) + PARTITION_NOTICE
    late = [part.table for part in found if part.horizon is None or part.horizon < soon]
    if late:
        raise CheckFailed(
            f"no partitions for the next week of {', '.join(late)}; `vigil retention run` makes them"
        )

    return f"{len(found)} tables, made ahead"


def backup(config: Config, home: Path) -> str:
    made = measurements.last_backup(measurements.backup_directory(config, home))
    if made is None:
        if config.environment == "production":
            raise CheckFailed("there is no verified backup; run `vigil backup`")
        return "none yet, and none is wanted in development"

    age = datetime.now(UTC) - made
    if age > MAX_BACKUP_AGE and config.environment == "production":
        raise CheckFailed(
            f"the newest verified backup is {in_words(age.total_seconds())} old; run `vigil backup`"
        )

    return f"verified, of {made:%Y-%m-%d %H:%M} UTC"


def message_path(config: Config, lane: LaneName) -> str:
    took_s = LaneProbe(config, deadline_s=PATH_DEADLINE_S).run(lane)
    return f"a test message came from MQTT to a socket in {took_s * 1000:.0f} ms"


def running(process: Mapping[str, Any]) -> str:
    if process["state"] != "ready" or process.get("doing"):
        raise CheckFailed(f"{state_in_words(process)}; `vigil logs {process['name']}` says more")
    return f"ready, {restarts_in_words(process)}"


def stalls() -> str:
    """Check the records of restarts that all processes of this host keep, under any supervisor."""
    found = restarts.records()
    told = [f"{name}: {restarts.in_words(record)}" for name, record in found.items() if record.restarts]
    recent = datetime.now(UTC) - STALL_NOTICE
    if any(
        record.cause == restarts.STALLED and record.noticed_at and record.noticed_at > recent
        for record in found.values()
    ):
        raise CheckFailed("; ".join(told))
    return "; ".join(told) or ("none" if found else "no records here")
