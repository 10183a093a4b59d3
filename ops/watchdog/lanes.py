"""A test message by each lane, one after the other, with its time or the last place it was seen."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ops.watchdog.probe import ROADS, LaneName, LaneProbe, ProbeLost, Stage
from services.platform.config import Config


class LaneResult(msgspec.Struct, frozen=True):
    """Result of one lane.

    It has the seconds until its message arrived, or the last place where the message was seen.
    """

    lane: LaneName
    seconds: float | None
    lost: Stage | None
    detail: str


def send_by_lanes(config: Config, lanes: Sequence[LaneName] = ()) -> list[LaneResult]:
    """Send a message by each of the named lanes, or by all lanes when none is named."""
    probe = LaneProbe(config)
    return [_result(probe, lane) for lane in lanes or tuple(ROADS)]


def lost_lanes(config: Config) -> list[str]:
    """Return a sentence for each lane whose message did not arrive."""
    return [f"{one.lane}: {one.detail}" for one in send_by_lanes(config) if one.lost]


def _result(probe: LaneProbe, lane: LaneName) -> LaneResult:
    try:
        return LaneResult(lane, round(probe.run(lane), 4), None, "arrived")
    except ProbeLost as error:
        return LaneResult(lane, None, error.stage, str(error))
