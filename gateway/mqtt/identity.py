"""The identity of a message: when two deliveries are the same message, and when they are not. Pure.

A key is 16 bytes. What has no identity of its own gets a key that is made at its receipt (docs/adr/0030).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from gateway.mqtt.topics import Family, Topic

WINDOW_S = 5.0
"""Equal bytes of a source on one topic within this time of the first are one message."""
REMEMBERED = 50_000
"""Sources, and message ids, that one lane remembers."""


class _Last(NamedTuple):
    digest: bytes
    key: bytes
    first_at: datetime


class Recent:
    """A lane's memory of its latest messages: the last one of each source, and the bytes behind each message id.

    It is bounded and lost at a restart: it makes duplicates fewer and flags more, and nothing hangs on it.
    """

    def __init__(self, *, size: int = REMEMBERED) -> None:
        self._size = size
        self._last: OrderedDict[str, _Last] = OrderedDict()
        # Two halves: when the newer one is full it becomes the older one, and the older one is forgotten. To delete the
        # oldest entries of one dictionary one by one costs a walk over the places of those that were deleted before.
        self._keys: dict[int, bytes] = {}
        self._older_keys: dict[int, bytes] = {}

    def key_of(
        self,
        source_id: str,
        topic: str,
        payload: bytes,
        *,
        at: datetime,
        may_repeat: bool,
        make: Callable[[], bytes],
    ) -> bytes:
        """Return the key of the source's last message when this one repeats it, else one that `make` makes.

        It repeats it with equal bytes on the same topic within the window, if it `may_repeat` at all. Any other message
        of the source between them, on whatever topic, makes them two: an alarm, its end, and the same alarm again.
        """
        same = digest(topic.encode("utf-8", "surrogatepass") + b"\0" + payload)
        last = self._last.pop(source_id, None)
        if (
            may_repeat
            and last is not None
            and last.digest == same
            and 0 <= (at - last.first_at).total_seconds() <= WINDOW_S
        ):
            self._last[source_id] = last
            return last.key
        if len(self._last) >= self._size:
            self._last.popitem(last=False)
        key = make()
        self._last[source_id] = _Last(same, key, at)
        return key

    def another(self, source_id: str) -> None:
        """A message with an identity of its own came of a source: what comes next repeats nothing before it."""
        self._last.pop(source_id, None)

    def is_reused(self, source_id: str, msg_id: str, key: bytes) -> bool:
        """Return whether the source gave this id to other bytes, or to another kind of message, before."""
        # Numbers and bytes alone: the garbage collector does not look at a dictionary that holds nothing else.
        name = hash((source_id, msg_id))
        before = self._keys.get(name) or self._older_keys.get(name)
        if before != key:
            if len(self._keys) >= self._size // 2:
                self._older_keys, self._keys = self._keys, {}
            self._keys[name] = key
        return before is not None and before != key


def digest(payload: bytes) -> bytes:
    """Return the hash of a payload's bytes."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def own_key(
    topic_text: str, topic: Topic | None, payload: bytes, *, msg_id: str | None, proves: bool, scope: str = ""
) -> bytes | None:
    """Return the key of a message that has an identity of its own: its id, or a time that `proves` it.

    With an id the kind, the source and the bytes count as well: counters restart after a reboot, and an id is unique
    only as far as the device makes it so. Without one it is the topic and the bytes.
    """
    if msg_id is not None and topic is not None:
        kind = topic.detail.lower() if topic.family is Family.ALERT else topic.detail
        named = scope + "\0".join((topic.family, kind, topic.source_id, msg_id, ""))
        return digest(named.encode("utf-8", "surrogatepass") + payload)
    return digest(topic_text.encode() + b"\0" + payload) if proves else None


def made_key(
    source_id: str,
    topic_text: str,
    payload: bytes,
    make: Callable[[], bytes],
    recent: Recent | None,
    *,
    at: datetime,
    may_repeat: bool,
) -> bytes:
    """Return the key of a message without an identity: the one that it repeats, by `recent`, else a new one."""
    if recent is None:
        return make()
    return recent.key_of(source_id, topic_text, payload, at=at, may_repeat=may_repeat, make=make)
