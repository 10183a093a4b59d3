"""A test message from MQTT to a websocket session: its time, or the last place it was seen."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import websocket
from sqlalchemy import text

from ops.feed.client import FeedClient, dashboard_url
from ops.servers.mqtt_connection import PublishingConnection
from ops.watchdog.sources import ALERT_TOPIC, DEVICE, GUARD, POSITION_TOPIC, login
from services.contracts.errors import Unavailable, VigilError
from services.feed.stream import FeedReader
from services.platform.config import Config
from services.platform.database import Database

LaneName = Literal["alert", "bulk"]
Stage = Literal["device", "broker", "postgres", "redis"]
"""The last place where a lost test message was seen.

`device` means that the broker did not take it.
"""
PAUSE_S = 0.2
LEAST_WAIT_S = 0.05
BEYOND: dict[Stage, str] = {
    "device": "the MQTT broker did not take it; look at mosquitto",
    "broker": "it got to the MQTT broker, not to PostgreSQL; look at mqtt_gateway-{lane}, RabbitMQ, {service}",
    "postgres": "it got to PostgreSQL, not to the feed; look at {service}, Redis",
    "redis": "it got to the feed, not to a session; check noc_gateway and directory",
}


class ProbedLane(NamedTuple):
    """A lane's test message.

    Attributes:
        topic: the topic that it is published to.
        service: the service that stores it.
        stored: the query that finds it in the database.
        payload: makes its content from message id and time.
        frames: the types of frames that show it.
        is_shown: says whether a frame shows it.
    """

    topic: str
    service: str
    stored: str
    payload: Callable[[str, str], dict[str, Any]]
    frames: frozenset[str]
    is_shown: Callable[[dict[str, Any], datetime], bool]


class ProbeLost(VigilError):  # noqa: N818
    """A test message did not arrive in time; `stage` is the last place where it was seen."""

    def __init__(self, lane: LaneName, stage: Stage, detail: str = "") -> None:
        self.stage = stage
        found = BEYOND[stage].format(lane=lane, service=ROADS[lane].service)
        super().__init__(
            f"the test message of the {lane} lane did not arrive: {found}" + (f" ({detail})" * bool(detail))
        )


def _alert_shown(frame: dict[str, Any], at: datetime) -> bool:
    data = frame["data"]
    return data["source_id"] == DEVICE and datetime.fromisoformat(data["last_seen_at"]) >= at


def _position_shown(frame: dict[str, Any], at: datetime) -> bool:
    return any(
        position["guard_id"] == GUARD and datetime.fromisoformat(position["recorded_at"]) >= at
        for position in frame["data"]
    )


ROADS: dict[LaneName, ProbedLane] = {
    "alert": ProbedLane(
        ALERT_TOPIC,
        "alerts",
        "SELECT 1 FROM alert_occurrence WHERE tenant_id = :tenant_id AND msg_id = :msg_id AND received_at > :since",
        lambda msg_id, at: {
            "msg_id": msg_id,
            "timestamp": at,
            "severity": "LOW",
            "drill": True,
            "message": "test message of the watchdog",
        },
        frozenset({"alert_created", "alert_updated"}),
        _alert_shown,
    ),
    "bulk": ProbedLane(
        POSITION_TOPIC,
        "location",
        "SELECT 1 FROM guard_state WHERE tenant_id = :tenant_id AND recorded_at >= :since",
        # Close to 0,0. A receiver without a fix sends 0,0, and that is refused.
        lambda msg_id, at: {"msg_id": msg_id, "timestamp": at, "lat": 0.001, "lon": 0.001, "accuracy": 1.0},
        frozenset({"positions"}),
        _position_shown,
    ),
}


class LaneProbe:
    """Sender of test messages, one at a time for each lane.

    Several lanes, and several probes, may run at once.
    """

    def __init__(self, config: Config, *, deadline_s: float | None = None) -> None:
        self._config = config
        self._settings = config.watchdog
        self._deadline_s = deadline_s or config.watchdog.deadline_s

    def run(self, lane: LaneName) -> float:
        """Return the seconds from the publishing to the frame on a socket. Raises `ProbeLost`."""
        until_s = time.monotonic() + self._deadline_s
        frames, no_socket = self._listen(until_s)
        try:
            return self._send_and_await(lane, frames, no_socket, until_s)
        finally:
            frames.close()

    def _listen(self, until_s: float) -> tuple[ProbeFrames, str]:
        """Return frames of a socket after its snapshot, and "" or the reason why there is none.

        Without a socket, a lost message may have been lost before the gateway.
        """
        enough_s = until_s - self._deadline_s / 2  # the rest is for the message itself
        while True:
            frames = ProbeFrames(self._config, silence_s=until_s - time.monotonic())
            try:
                frames.until(lambda frame: frame["type"] == "snapshot", enough_s)
            except (websocket.WebSocketException, OSError, VigilError) as error:
                frames.close()
                if time.monotonic() > enough_s:
                    return frames, str(error) or type(error).__name__
                time.sleep(PAUSE_S)  # no event says when a gateway that refuses will take sockets again
            else:
                return frames, ""

    def _send_and_await(self, lane: LaneName, frames: ProbeFrames, no_socket: str, until_s: float) -> float:
        road, msg_id = ROADS[lane], secrets.token_hex(8)
        at, started_s = datetime.now(UTC), time.monotonic()

        try:
            self._publish(road, msg_id, at)
        except (Unavailable, OSError) as error:
            raise ProbeLost(lane, "device", str(error)) from error

        if no_socket:
            stage = self._last_seen(lane, road, msg_id, at, until_s)
            raise ProbeLost(lane, stage, f"no socket: {no_socket}")

        try:
            frames.until(lambda frame: frame["type"] in road.frames and road.is_shown(frame, at), until_s)
        except (websocket.WebSocketException, OSError, VigilError) as error:
            raise ProbeLost(lane, self._last_seen(lane, road, msg_id, at, until_s), str(error)) from error

        return time.monotonic() - started_s

    def _publish(self, road: ProbedLane, msg_id: str, at: datetime) -> None:
        line = PublishingConnection(self._config.mqtt, f"vigil-watchdog-{msg_id}", **login(self._config))
        try:
            line.publish(road.topic, json.dumps(road.payload(msg_id, at.isoformat())).encode())
        finally:
            line.close()

    def _last_seen(
        self, lane: LaneName, road: ProbedLane, msg_id: str, at: datetime, until_s: float
    ) -> Stage:
        """Return the last place of a message on the pipeline, searched from its end.

        A message that may still be on its way gets the time that is left.
        """
        tenant_id, since_id = self._settings.tenant_id, int(at.timestamp() * 1e6)
        feed = FeedReader.from_config(self._config)
        values = {"tenant_id": tenant_id, "msg_id": msg_id, "since": at}
        database = Database(self._config, name="watchdog-probe", pool_size=1)

        try:
            while True:
                if any(kind in road.frames for _, _, kind, _ in feed.read({tenant_id: since_id})):
                    return "redis"
                with database.across() as connection:
                    stored = connection.execute(text(road.stored), values).first() is not None
                if time.monotonic() >= until_s:
                    return "postgres" if stored else "broker"
                time.sleep(PAUSE_S)
        except Unavailable as error:
            raise ProbeLost(lane, "broker", str(error)) from error
        finally:
            database.close()


class ProbeFrames:
    """Frames of the test tenant's feed, one after the other."""

    def __init__(self, config: Config, *, silence_s: float) -> None:
        tenant_id = config.watchdog.tenant_id
        feed = FeedClient(
            config,
            url=dashboard_url(config),
            token=None,
            tenant_id=tenant_id,
            since=None,
            name="vigil-watchdog",
        )
        self._frames = feed.frames(silence_s=max(silence_s, LEAST_WAIT_S))

    def until(self, wanted: Callable[[dict[str, Any]], bool], until_s: float) -> None:
        """Read until a frame is wanted.

        Errors of the feed are raised. `TimeoutError` is raised when the time is over.
        """
        for frame in self._frames:
            if wanted(frame):
                return
            if time.monotonic() >= until_s:
                raise TimeoutError("no such frame came")
        raise TimeoutError("the feed ended")

    def close(self) -> None:
        self._frames.close()
