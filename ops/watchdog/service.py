"""The watchdog: test messages through the whole pipeline, and measures that no service can take."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import get_args

import eventlet
import structlog

from ops.environment import home
from ops.hosting import liveness
from ops.servers.queues import depths
from ops.watchdog import broker, measurements
from ops.watchdog.accounts import EventAccounts
from ops.watchdog.probe import LaneName, LaneProbe, ProbeLost, Stage
from ops.watchdog.standing import StandingConnection
from services.contracts.errors import Unavailable
from services.messaging import Resource, RpcProxy, loop, report_away, report_back, timer, within
from services.platform import metrics
from services.platform.config import Config
from services.platform.database import Database
from services.supervision.process_heartbeats import STOOD_STILL_S

log = structlog.get_logger(__name__)

SERVERS_INTERVAL_S = 3.0
SERVER_DEADLINE_S = 4.0
"""Time after which a server that has not answered is down.

With the interval, an outage is noticed within seven seconds.
"""
QUEUES_INTERVAL_S = 10.0
"""Time between two counts; metrics are read each 15 s (prometheus/prometheus.yml)."""
QUEUES_DEADLINE_S = 10.0
ACCOUNTS_INTERVAL_S = 15.0
VITALS_INTERVAL_S = 30.0
VITAL_DEADLINE_S = 10.0
LOOK_FOR_LOST_S = 5.0
AGAIN_AFTER_LOSS_S = 5.0
"""Pause after a lost test message.

It is short, because the console warns that it may be blind until a test message arrives.
"""
CLOSING_INTERVAL_S = 600.0
CLOSE_AFTER = timedelta(days=1)
INTERVALS_GOOD = 2.5
"""Intervals for which an arrived test message counts, as for the banner of the console.

One test message may be late, but not two.
"""
FIGURES = {broker.DROPPED: metrics.mqtt_broker_dropped, broker.CLIENTS: metrics.mqtt_broker_clients}


class WatchdogParts:
    """Objects that the watchdog works with, made once for each process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.probe = LaneProbe(config)
        self.database = Database(config, name="watchdog", pool_size=1)
        self.home = home()
        self.queues = depths.names_by_process()
        self.accounts = EventAccounts(config, self.queues)

    def close(self) -> None:
        self.database.close()


class WatchdogService:
    name = "watchdog"

    parts = Resource(WatchdogParts)
    alerts = RpcProxy("alerts")

    @loop
    def test_alert_lane(self) -> None:
        self._test_for_ever("alert")

    @loop
    def test_bulk_lane(self) -> None:
        self._test_for_ever("bulk")

    @loop
    def read_broker_figures(self) -> None:
        # The broker publishes a figure when it changes, and retains none for later subscribers.
        _show_figure(broker.DROPPED, "0")
        broker.listen(self.parts.config, _show_figure)

    @loop
    def ask_mqtt(self) -> None:
        self._ask_for_ever("mqtt")

    @loop
    def ask_amqp(self) -> None:
        self._ask_for_ever("amqp")

    @loop
    def ask_redis(self) -> None:
        self._ask_for_ever("redis")

    @loop
    def ask_postgres(self) -> None:
        self._ask_for_ever("postgres")

    @timer(QUEUES_INTERVAL_S, eager=True)
    def measure_queues(self) -> None:
        ask = partial(depths.depths, self.parts.config, self.parts.queues)
        for queue, depth in depths.by_handler(within(QUEUES_DEADLINE_S, ask)).items():
            metrics.queue_depth.labels(queue).set(depth)

    @timer(ACCOUNTS_INTERVAL_S)
    def count_events(self) -> None:
        self.parts.accounts.look()

    @timer(VITALS_INTERVAL_S, eager=True)
    def measure_vitals(self) -> None:
        """Measure all at once, independently of each other.

        A measure that fails keeps its last value, and the failure is logged.
        """
        measures = (_disk, _clock, _size, _partitions, _certificates, _backup)
        for thread in [eventlet.spawn(_measure, measure, self.parts) for measure in measures]:
            thread.wait()

    @timer(CLOSING_INTERVAL_S)
    def close_old_test_alert(self) -> None:
        """Resolve the open test alert when it is a day old.

        Repeats make an open alert longer. A new alert each day can be erased whole.
        """
        tenant_id = self.parts.config.watchdog.tenant_id
        for alert in self.alerts.list_alerts(tenant_id=tenant_id):
            if datetime.fromisoformat(str(alert["received_at"])) < datetime.now(UTC) - CLOSE_AFTER:
                self.alerts.resolve_alert(tenant_id=tenant_id, alert_id=alert["id"], by=self.name)

    def _test_for_ever(self, lane: LaneName) -> None:
        interval_s = self.parts.config.watchdog.interval_s
        _show_lane(lane)
        while True:
            started_s = time.monotonic()
            came = self._test(lane, started_s)
            pause_s = interval_s if came else min(interval_s, AGAIN_AFTER_LOSS_S)
            eventlet.sleep(max(0.0, started_s + pause_s - time.monotonic()))

    def _test(self, lane: LaneName, started_s: float) -> bool:
        """Return whether the test message arrived."""
        try:
            took_s = self._probe(lane)
        except ProbeLost as error:
            report_away(f"message-path-{lane}", since_s=started_s)
            metrics.watchdog_failure.labels(lane, error.stage).inc()
            # The place of the loss matters, not the place in the code that found it.
            log.error("test_message_lost", lane=lane, last_seen=error.stage, error=str(error))  # noqa: TRY400
        else:
            metrics.watchdog_round_trip.labels(lane).observe(took_s)
            metrics.watchdog_last_success.labels(lane).set(time.time())
            liveness.note_arrival(lane, good_for_s=self.parts.config.watchdog.interval_s * INTERVALS_GOOD)
            report_back(f"message-path-{lane}")
            return True

        return False

    def _probe(self, lane: LaneName) -> float:
        """Return how long a test message took. Raises `ProbeLost`, also when the search for it hangs."""
        limit_s = self.parts.config.watchdog.deadline_s + LOOK_FOR_LOST_S
        try:
            return within(limit_s, partial(self.parts.probe.run, lane))
        except Unavailable as error:
            raise ProbeLost(lane, "broker", str(error)) from error

    def _ask_for_ever(self, name: str) -> None:
        """Check one server for ever.

        Each has its own loop, so one that hangs does not hide another.
        """
        standing = StandingConnection.to(name, self.parts.config)
        while True:
            asked_s = time.monotonic()
            self._ask(name, standing, asked_s)
            eventlet.sleep(max(0.0, asked_s + SERVERS_INTERVAL_S - time.monotonic()))

    def _ask(self, name: str, standing: StandingConnection, asked_s: float) -> None:
        try:
            within(SERVER_DEADLINE_S, standing.ask)
        except Exception as error:  # any error of a library means that the server did not answer
            if time.monotonic() - asked_s > SERVER_DEADLINE_S + STOOD_STILL_S:
                return  # this process itself stood still: ask again
            metrics.dependency_up.labels(name).set(0)
            report_away(name, since_s=asked_s)
            log.warning("server_not_reached", server=name, error=str(error) or type(error).__name__)
        else:
            metrics.dependency_up.labels(name).set(1)
            report_back(name)


def _show_lane(lane: LaneName) -> None:
    """Create the metrics of a lane before its first test message.

    An alert about messages that never came needs a series.
    """
    metrics.watchdog_last_success.labels(lane)
    metrics.watchdog_round_trip.labels(lane)
    for stage in get_args(Stage):
        metrics.watchdog_failure.labels(lane, stage)


def _measure(measure: Callable[[WatchdogParts], None], parts: WatchdogParts) -> None:
    try:
        within(VITAL_DEADLINE_S, partial(measure, parts))
    except Exception as error:  # also an unknown query: the next one can be measured
        log.warning("measurement_failed", what=measure.__name__.strip("_"), error=str(error))


def _show_figure(topic: str, value: str) -> None:
    gauge = FIGURES.get(topic)
    if gauge is not None:
        gauge.labels("mqtt").set(float(value))


def _disk(parts: WatchdogParts) -> None:
    metrics.disk_free.labels("home").set(measurements.free_share(parts.home))


def _clock(parts: WatchdogParts) -> None:
    metrics.clock_offset.labels("postgres").set(measurements.clock_offset_s(parts.database))


def _size(parts: WatchdogParts) -> None:
    metrics.database_size.labels("vigil").set(measurements.database_size_bytes(parts.database))


def _partitions(parts: WatchdogParts) -> None:
    for found in measurements.partitions(parts.database):
        metrics.partition_default_rows.labels(found.table).set(found.default_rows)
        horizon_s = found.horizon.timestamp() if found.horizon else 0.0
        metrics.partition_horizon.labels(found.table).set(horizon_s)


def _certificates(parts: WatchdogParts) -> None:
    for name, end in measurements.certificates(parts.config, parts.home):
        metrics.certificate_expiry.labels(name).set(end.timestamp())


def _backup(parts: WatchdogParts) -> None:
    made = measurements.last_backup(measurements.backup_directory(parts.config, parts.home))
    metrics.backup_last_success.labels("verified").set(made.timestamp() if made else 0.0)
