"""Rate limit of each source, and the class in which each message travels. Pure: time comes in.

A bucket is one number, the time at which it is full again (GCRA). A message within the limit costs
a look-up and a comparison.

No message is held back without acknowledgement. MQTT wants acknowledgements in the order of
delivery, so a held message would hold the messages of all other sources behind it (docs/adr/0040).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from gateway.mqtt.decoding import topics, unreadable
from services.contracts.alert_words import alert_type
from services.contracts.errors import InvalidMessage

REMEMBERED_TOPICS = 50_000
"""Number of topics that one lane remembers.

Beyond it, the lane forgets all topics, and the sources with a full bucket.
"""
FLOOD_ENDS_S = 10.0
"""A flood ends when no message of its source was beyond the limit for so many seconds."""
RATE_OVER_S = 1.0
"""A flood is reported at this age in seconds, because its rate is known then."""
CATCHING_UP_S = 5.0
"""A device still sends stored messages until no old message came for so many seconds."""
BYTES_OF_ONE = 16_384
"""An alert counts as one more alert for each so many bytes."""
ALONE_BURST = 5
ALONE_EVERY_S = 6.0
"""Repeats of a source that travel alone, as first presses do.

The source may send `ALONE_BURST` of them, and one more every `ALONE_EVERY_S` seconds.
"""
BEHIND_S = 2.0
"""Seconds in which the source's next repeats follow a repeat that travels with others.

They do not overtake it.
"""
ALL_ALONE_BURST = 40
ALL_ALONE_PER_S = 10.0
"""The same limit for all sources of a lane together."""
OTHER = ""
"""Kind of a topic without an alert type. All such topics of a source are one kind."""


class MessageClass(IntEnum):
    """Class in which a message travels."""

    FIRST = 0
    """At once and alone, or in a batch of the bulk lane."""
    REPEAT = 1
    """Together with other repeats, behind all first messages."""
    OVER = 2
    """Beyond the rate of its source: counted when it repeats an alert, else refused."""


class SourceRate(NamedTuple):
    """Limit of one source: messages a second, messages at once, and messages of its backlog.

    `backlog` is the number of further messages that the source may send, which it kept while it was
    offline.
    """

    per_s: float
    burst: int
    backlog: int
    first_press_s: float
    """The first message of each kind of alarm within so many seconds always passes.

    No other message of its source prevents that.
    """


class FloodNews(NamedTuple):
    """Beginning or end of a flood.

    `rate_per_s` is the source's rate. The counts start at the beginning of the flood.
    """

    source_id: str
    is_over: bool
    began_s: float
    rate_per_s: float
    counted: int
    refused: int


class SourceBucket:
    """State of one source. Times of buckets are the times at which they are full again."""

    __slots__ = (
        "alone_s",
        "backlog_s",
        "behind_s",
        "catching_up_s",
        "counted",
        "flooding_since_s",
        "fresh_s",
        "full_s",
        "is_told",
        "passed_s",
        "refused",
        "source_id",
        "touched_s",
    )

    def __init__(self, source_id: str) -> None:
        self.source_id = source_id
        self.full_s = self.backlog_s = self.fresh_s = self.alone_s = 0.0
        self.catching_up_s = self.behind_s = float("-inf")
        self.passed_s: dict[str, float] = {}
        self.flooding_since_s: float | None = None
        self.touched_s = 0.0
        self.counted = self.refused = 0
        self.is_told = False


class SourceLimits:
    """Limits of the bulk lane. `judge` returns `FIRST` or `OVER`.

    An alarm on a topic of the bulk lane passes when it is the first of its kind within
    `first_press_s`.
    """

    def __init__(self, limit: SourceRate) -> None:
        if limit.per_s <= 0 or limit.burst < 1 or limit.backlog < 1:
            raise ValueError("a source may send more than nothing")

        self.per_s = limit.per_s
        self._cost_s = 1 / limit.per_s
        self._depth_s = (limit.burst - 1) / limit.per_s
        self._backlog_depth_s = (limit.backlog - 1) / limit.per_s
        self._first_press_s = limit.first_press_s
        self._by_topic: dict[str, SourceBucket] = {}
        self._by_id: dict[str, SourceBucket] = {}
        self._flooding: dict[str, SourceBucket] = {}

    def knows(self, topic: str) -> bool:
        """Return True when the source of a topic is known, so `judge` does not read the topic."""
        return topic in self._by_topic

    def judge(self, topic: str, now_s: float, _size: int = 0) -> MessageClass:
        """Take a message off its source's bucket. Return the class in which the message travels."""
        source = self._by_topic.get(topic) or self._learn(topic, now_s)
        full_s = source.full_s
        if full_s < now_s:
            source.full_s = now_s + self._cost_s
            return MessageClass.FIRST
        if full_s - now_s <= self._depth_s:
            source.full_s = full_s + self._cost_s
            return MessageClass.FIRST
        return self._beyond(source, topic, now_s)

    def takes_backlog(self, topic: str, now_s: float, *, is_old: bool) -> bool:
        """Return True when a message beyond the limit passes as part of a device's backlog.

        An old message is taken off the backlog's bucket. A message that is not old passes after old
        ones, up to a burst, because a device sends its latest positions last.
        """
        source = self._by_topic.get(topic) or self._learn(topic, now_s)
        if is_old:
            until_s = _taken(source.backlog_s, now_s, self._cost_s, self._backlog_depth_s)
            if until_s is not None:
                source.backlog_s = until_s
                source.catching_up_s = now_s + CATCHING_UP_S
            return until_s is not None

        until_s = _taken(source.fresh_s, now_s, self._cost_s, self._depth_s)
        if until_s is None or now_s > source.catching_up_s:
            return False

        source.fresh_s = until_s
        return True

    def sender_of(self, topic: str) -> str:
        """Return the source of a known topic.

        An unknown topic is not read, and stands for its sender.
        """
        source = self._by_topic.get(topic)
        return topic if source is None else source.source_id

    def source_of(self, topic: str) -> str:
        """Return the source that a topic names. A topic without a source stands for itself."""
        source = self._by_topic.get(topic)
        return _source_of(topic) if source is None else source.source_id

    def note(self, source_id: str, now_s: float, *, counted: int = 0, refused: int = 0) -> None:
        """Record that messages beyond the limit were counted or refused. Their source floods."""
        source = self._flooding.get(source_id) or self._by_id.get(source_id) or SourceBucket(source_id)
        self._flooding[source_id] = source
        if source.flooding_since_s is None:
            source.flooding_since_s = now_s
        source.touched_s = now_s
        source.counted += counted
        source.refused += refused

    def floods(self, now_s: float) -> list[FloodNews]:
        """Return the floods that began or ended since the last call.

        Call this about once a second.
        """
        news = []
        for source in list(self._flooding.values()):
            is_over = now_s - source.touched_s >= FLOOD_ENDS_S
            is_known = now_s - (source.flooding_since_s or now_s) >= RATE_OVER_S
            if is_over or (is_known and not source.is_told):
                news.append(self._news(source, is_over=is_over, now_s=now_s))
                source.is_told = True
            if is_over:
                del self._flooding[source.source_id]
                source.flooding_since_s, source.is_told = None, False
                source.counted = source.refused = 0

        return news

    def _news(self, source: SourceBucket, *, is_over: bool, now_s: float) -> FloodNews:
        began_s = now_s if source.flooding_since_s is None else source.flooding_since_s
        lasted_s = max(RATE_OVER_S, source.touched_s - began_s)
        rate_per_s = self.per_s + (source.counted + source.refused) / lasted_s
        return FloodNews(source.source_id, is_over, began_s, rate_per_s, source.counted, source.refused)

    def _beyond(self, source: SourceBucket, topic: str, now_s: float) -> MessageClass:
        if not unreadable.may_be_alarm(topic, _parsed(topic)):
            return MessageClass.OVER
        return MessageClass.FIRST if self._is_first(source, kind_of(topic), now_s) else MessageClass.OVER

    def _is_first(self, source: SourceBucket, kind: str, now_s: float) -> bool:
        before_s = source.passed_s.get(kind)
        if before_s is not None and now_s - before_s < self._first_press_s:
            return False
        source.passed_s[kind] = now_s
        return True

    def _learn(self, topic: str, now_s: float) -> SourceBucket:
        if len(self._by_topic) >= REMEMBERED_TOPICS:
            self._forget(now_s)
        source_id = _source_of(topic)
        source = self._by_id.get(source_id)
        if source is None:
            source = self._by_id[source_id] = SourceBucket(source_id)
        self._by_topic[topic] = source
        return source

    def _forget(self, now_s: float) -> None:
        """Forget all topics, and the sources with full buckets.

        Forget all sources when too many remain.
        """
        self._by_topic.clear()
        quiet_s = now_s - self._first_press_s
        self._by_id = {
            source_id: source
            for source_id, source in self._by_id.items()
            if max(source.full_s, source.backlog_s, *source.passed_s.values(), 0.0) > quiet_s
        }
        if len(self._by_id) >= REMEMBERED_TOPICS:
            self._by_id.clear()


class PressLimits(SourceLimits):
    """Limits of the alert lane.

    The first message of each kind and a few repeats travel at once. Further repeats travel behind.
    So a source that sends many presses delays no other source's first press.
    """

    def __init__(self, limit: SourceRate) -> None:
        super().__init__(limit)
        self._kinds: dict[str, str] = {}
        self._all_alone_s = 0.0

    def judge(self, topic: str, now_s: float, size: int = 0) -> MessageClass:
        """Take a message off its source's bucket. Return the class in which the message travels.

        A message of many bytes counts for several.
        """
        source = self._by_topic.get(topic) or self._learn(topic, now_s)
        kind = self._kinds.get(topic)
        if kind is None:
            kind = self._kinds[topic] = kind_of(topic)

        cost_s = self._cost_s * (1 + size // BYTES_OF_ONE)
        until_s = _taken(source.full_s, now_s, cost_s, self._depth_s)
        if until_s is not None:
            source.full_s = until_s
        if self._is_first(source, kind, now_s):
            return MessageClass.FIRST
        if until_s is not None and now_s >= source.behind_s and self._goes_alone(source, now_s):
            return MessageClass.FIRST

        source.behind_s = now_s + BEHIND_S
        return MessageClass.OVER if until_s is None else MessageClass.REPEAT

    def _goes_alone(self, source: SourceBucket, now_s: float) -> bool:
        own_s = _taken(source.alone_s, now_s, ALONE_EVERY_S, (ALONE_BURST - 1) * ALONE_EVERY_S)
        all_s = _taken(self._all_alone_s, now_s, 1 / ALL_ALONE_PER_S, (ALL_ALONE_BURST - 1) / ALL_ALONE_PER_S)
        if own_s is None or all_s is None:
            return False
        source.alone_s, self._all_alone_s = own_s, all_s
        return True

    def _forget(self, now_s: float) -> None:
        super()._forget(now_s)
        self._kinds.clear()


def kind_of(topic: str) -> str:
    """Return the alert type that a topic names, in any spelling; `OTHER` when it names none."""
    named: Callable[[str], str | None] = alert_type
    return next((kind for segment in topic.split("/")[1:] if (kind := named(segment))), OTHER)


def _taken(full_s: float, now_s: float, cost_s: float, depth_s: float) -> float | None:
    """Return the time at which a bucket is full again after one more message; None without room."""
    if full_s < now_s:
        return now_s + cost_s
    return full_s + cost_s if full_s - now_s <= depth_s else None


def _parsed(topic: str) -> topics.Topic | None:
    try:
        return topics.parse(topic)
    except InvalidMessage:
        return None


def _source_of(topic: str) -> str:
    parsed = _parsed(topic)
    return topics.source_in(topic) if parsed is None else parsed.source_id
