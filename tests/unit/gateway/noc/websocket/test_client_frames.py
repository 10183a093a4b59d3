"""Tests of clients' frames: decoded to their types, or refused with the client's own reference."""

from __future__ import annotations

import msgspec
import pytest

from gateway.noc.websocket import client_frames
from services.contracts import frames
from services.contracts.errors import Refused


def test_a_frame_has_the_type_that_it_names() -> None:
    frame = client_frames.decode(
        '{"alert_id": "a", "type": "false_alarm", "reason": "test", "ref": [1, 2.50]}'
    )
    assert isinstance(frame, frames.MarkFalseAlarm)
    assert (frame.alert_id, frame.note, frame.reason) == ("a", "", "test")
    assert bytes(client_frames.given(frame.ref)) == b"[1, 2.50]"


def test_a_frame_may_have_fields_of_a_later_version() -> None:
    assert client_frames.decode('{"type": "heartbeat", "mood": 7}') == frames.ClientHeartbeat()


def test_an_answer_to_a_frame_without_a_reference_has_null() -> None:
    frame = client_frames.decode('{"type": "request_metrics"}')
    assert isinstance(frame, frames.RequestMetrics)
    assert bytes(client_frames.given(frame.ref)) == b"null"


@pytest.mark.parametrize(
    ("text", "words", "ref"),
    [
        (None, "not binary", b"null"),
        ("", "not a frame", b"null"),
        ("[" * 16_000, "not a frame", b"null"),
        ("7", "Expected `object`", b"null"),
        ('{"ref": 1}', "required field `type`", b"1"),
        ('{"type": 7, "ref": 1}', "`$.type`", b"null"),
        ('{"type": "dance", "ref": {"a": 1}}', "type is 'dance', which is not a client frame", b'{"a": 1}'),
        ('{"type": "acknowledge_alert", "ref": 2}', "required field `alert_id`", b"2"),
        ('{"type": "acknowledge_alert", "alert_id": "", "ref": 2}', "`$.alert_id`", b"2"),
        ('{"type": "acknowledge_alert", "alert_id": "a", "note": "\\u0000", "ref": 2}', "NUL", b"2"),
        ('{"type": "acknowledge_alert", "alert_id": "a", "note": "\\ud800"}', "not a frame", b"null"),
        ('{"type": "subscribe_client", "ref": "c"}', "required field `client_id`", b'"c"'),
        ('{"type": "subscribe_client", "client_id": -1, "ref": "c"}', "`$.client_id`", b'"c"'),
        ('{"type": "resume", "since": 9223372036854775808}', "`$.since`", b"null"),
        ('{"type": "resume", "since": -1}', "`$.since`", b"null"),
    ],
)
def test_a_faulty_frame_is_refused_and_its_reference_is_given_back(
    text: str | None, words: str, ref: bytes
) -> None:
    with pytest.raises(Refused) as refused:
        client_frames.decode(text)
    assert words in str(refused.value)
    assert bytes(client_frames.ref_of(text)) == ref


def test_the_refusal_of_a_long_type_is_short() -> None:
    with pytest.raises(Refused) as refused:
        client_frames.decode(msgspec.json.encode({"type": "x" * 10_000}).decode())
    assert len(str(refused.value)) < 100
