import json
from collections.abc import Iterator

import pytest

from services.contracts.errors import InvalidMessage
from services.feed.client import FrameChecker
from tests.support.reader_cases import ALERT, KEYS, START, FrameStream, all_streams, clear, seal


def verdicts(stream: FrameStream) -> Iterator[bool | str]:
    watcher = FrameChecker(1, keys=(lambda: stream.keys) if stream.keys else None)
    for frame in stream.frames:
        try:
            taken = watcher.take(frame)
        except InvalidMessage:
            yield False
            return
        yield "repeated" if taken.get("repeated") else True


def test_what_fits_is_believed_and_nothing_else() -> None:
    streams = list(all_streams())
    assert len(streams) > 2000
    assert any(stream.name == "with spare bits set" for stream in streams)
    wrong = [stream.name for stream in streams if list(verdicts(stream)) != stream.believed]
    assert wrong == []


def test_a_frame_comes_with_its_data_in_the_clear_and_the_place_to_resume_from() -> None:
    watcher = FrameChecker(1, keys=lambda: KEYS)
    for frame in START:
        watcher.take(frame)
    assert watcher.take(seal("critical_alert", 7))["data"] == ALERT
    assert watcher.since == 7
    assert watcher.take(clear("heartbeat", server_time="now"))["server_time"] == "now"
    assert watcher.since == 7


def test_who_resumes_needs_no_snapshot_and_takes_nothing_from_before() -> None:
    watcher = FrameChecker(1, keys=lambda: KEYS, since=7)
    watcher.take(clear(resumed=True))
    with pytest.raises(InvalidMessage, match="replayed"):
        watcher.take(seal("critical_alert", 7))
    assert watcher.take(seal("critical_alert", 8))["id"] == 8


def test_logs_and_numbers_on_the_outside_are_nobodys_concern() -> None:
    watcher = FrameChecker(1, keys=lambda: KEYS)
    for frame in START:
        watcher.take(frame)
    traced = json.loads(seal("critical_alert", 7)) | {"trace": "anything", "arrived": 1.5}
    assert watcher.take(json.dumps(traced))["trace"] == "anything"
