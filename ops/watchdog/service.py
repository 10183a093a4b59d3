"""The watchdog: test messages through the whole road, and what no service can say of itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import get_args

import eventlet
import structlog

from ops import queues, vitals
from ops.dependencies import DEPENDENCIES
from ops.environment import home
from ops.watchdog import broker
from ops.watchdog.accounts import Accounts
from ops.watchdog.probe import LaneName, Lost, Probe, Stage
from services import metrics
from services.bus import Resource, RpcProxy, loop, timer
from services.config import Config
from services.errors import VigilError
from services.providers import Database

log = structlog.get_logger(__name__)

SERVERS_INTERVAL_S = 5.0
QUEUES_INTERVAL_S = 5.0
ACCOUNTS_INTERVAL_S = 15.0
VITALS_INTERVAL_S = 30.0
CLOSING_INTERVAL_S = 600.0
CLOSE_AFTER = timedelta(days=1)
FIGURES = {broker.DROPPED: metrics.mqtt_broker_dropped, broker.CLIENTS: metrics.mqtt_broker_clients}


class Parts:
    """What the watchdog works with, made once a process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.probe = Probe(config)
        self.database = Database(config, name="watchdog", pool_size=1)
        self.home = home()
        self.queues = queues.names(config)
        self.accounts = Accounts(config)

    def close(self) -> None:
        self.database.close()


class WatchdogService:
    name = "watchdog"

    parts = Resource(Parts)
    alerts = RpcProxy("alerts")

    @loop
    def test_alert_lane(self) -> None:
        self._test_for_ever("alert")

    @loop
    def test_bulk_lane(self) -> None:
        self._test_for_ever("bulk")

    @loop
    def read_broker_figures(self) -> None:
        # The broker tells a figure when it changes, and keeps none for who comes later.
        _show_figure(broker.DROPPED, "0")
        broker.listen(self.parts.config, _show_figure)

    @timer(SERVERS_INTERVAL_S, eager=True)
    def ask_servers(self) -> None:
        """All at once: one that hangs must not hide that another is gone."""
        asked = [eventlet.spawn(self._ask, name) for name in DEPENDENCIES]
        for thread in asked:
            thread.wait()

    @timer(QUEUES_INTERVAL_S, eager=True)
    def measure_queues(self) -> None:
        for queue, depth in queues.depths(self.parts.config, self.parts.queues).items():
            metrics.queue_depth.labels(queue).set(depth)

    @timer(ACCOUNTS_INTERVAL_S)
    def count_events(self) -> None:
        self.parts.accounts.look()

    @timer(VITALS_INTERVAL_S, eager=True)
    def measure_vitals(self) -> None:
        """Each by itself: what cannot be measured now keeps its last value, and is logged."""
        parts = self.parts
        for measure in (_disk, _clock, _size, _partitions, _certificates, _backup):
            try:
                measure(parts)
            except (
                Exception
            ) as error:  # also a query that the database does not know: the next can be measured
                log.warning("not_measured", what=measure.__name__.strip("_"), error=str(error))

    @timer(CLOSING_INTERVAL_S)
    def close_old_test_alert(self) -> None:
        """A repeat grows the open test alert: a new one each day can be erased whole."""
        tenant_id = self.parts.config.watchdog.tenant_id
        for alert in self.alerts.list_alerts(tenant_id=tenant_id):
            if datetime.fromisoformat(str(alert["received_at"])) < datetime.now(UTC) - CLOSE_AFTER:
                self.alerts.resolve_alert(tenant_id=tenant_id, alert_id=alert["id"], by=self.name)

    def _test_for_ever(self, lane: LaneName) -> None:
        interval_s = self.parts.config.watchdog.interval_s
        _show_lane(lane)
        while True:
            started_s = time.monotonic()
            self._test(lane)
            eventlet.sleep(max(0.0, started_s + interval_s - time.monotonic()))

    def _test(self, lane: LaneName) -> None:
        try:
            took_s = self.parts.probe.run(lane)
        except Lost as error:
            metrics.watchdog_failure.labels(lane, error.stage).inc()
            # Where it was lost is the news, not where in our code that was found out.
            log.error("test_message_lost", lane=lane, last_seen=error.stage, error=str(error))  # noqa: TRY400
        else:
            metrics.watchdog_round_trip.labels(lane).observe(took_s)
            metrics.watchdog_last_success.labels(lane).set(time.time())

    def _ask(self, name: str) -> None:
        answers = 0
        try:
            DEPENDENCIES[name](self.parts.config)
            answers = 1
        except (VigilError, OSError) as error:
            log.warning("server_does_not_answer", server=name, error=str(error))
        finally:
            metrics.dependency_up.labels(name).set(answers)


def _show_lane(lane: LaneName) -> None:
    """A lane is in the metrics before its first test message: an alarm for what never came needs a series."""
    metrics.watchdog_last_success.labels(lane)
    metrics.watchdog_round_trip.labels(lane)
    for stage in get_args(Stage):
        metrics.watchdog_failure.labels(lane, stage)


def _show_figure(topic: str, value: str) -> None:
    gauge = FIGURES.get(topic)
    if gauge is not None:
        gauge.labels("mqtt").set(float(value))


def _disk(parts: Parts) -> None:
    metrics.disk_free.labels("home").set(vitals.free_share(parts.home))


def _clock(parts: Parts) -> None:
    metrics.clock_offset.labels("postgres").set(vitals.clock_offset_s(parts.database))


def _size(parts: Parts) -> None:
    metrics.database_size.labels("vigil").set(vitals.database_size_bytes(parts.database))


def _partitions(parts: Parts) -> None:
    for found in vitals.partitions(parts.database):
        metrics.partition_default_rows.labels(found.table).set(found.default_rows)
        horizon_s = found.horizon.timestamp() if found.horizon else 0.0
        metrics.partition_horizon.labels(found.table).set(horizon_s)


def _certificates(parts: Parts) -> None:
    for name, end in vitals.certificates(parts.config, parts.home):
        metrics.certificate_expiry.labels(name).set(end.timestamp())


def _backup(parts: Parts) -> None:
    made = vitals.last_backup(vitals.backup_directory(parts.config, parts.home))
    metrics.backup_last_success.labels("verified").set(made.timestamp() if made else 0.0)
