"""Tests that the AsyncAPI document describes all frames of the code, and no others."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from gateway.mqtt import lane
from gateway.mqtt.decoding import owntracks, topics
from gateway.mqtt.decoding.payloads import PAYLOADS, PayloadLimits, decode
from gateway.mqtt.decoding.topics import FILTERS, OPTIONAL
from gateway.noc.api import asyncapi
from gateway.noc.api.examples import FRAMES, MESSAGES
from gateway.noc.websocket import session
from services.contracts import frames
from services.contracts.events import Receipt
from services.contracts.families import SENSOR_KINDS, Family

DOCUMENT = msgspec.json.decode(msgspec.json.encode(asyncapi.document(version="1")))
SOURCES = Path(lane.__file__).parents[2]
WORDS = {"kind": "reading", "alert_type": "panic"}


def strings_of(path: str) -> set[str]:
    tree = ast.parse((SOURCES / path).read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def at(reference: str) -> Any:
    found: Any = DOCUMENT
    for word in reference.removeprefix("#/").split("/"):
        found = found[word]
    return found


def validate(value: object, message: str) -> None:
    schema = {**DOCUMENT["components"]["messages"][message]["payload"], "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


def address_of(road: asyncapi.MqttTopic) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: WORDS.get(found[1], "guard-7"), road.address)


def test_every_reference_leads_somewhere() -> None:
    references = [node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)]
    assert len(references) > 50
    assert all(at(reference) is not None for reference in references)


def test_every_message_has_an_example_and_is_on_a_channel_and_in_an_operation() -> None:
    messages = set(DOCUMENT["components"]["messages"])
    assert messages == {*MESSAGES, *FRAMES}
    assert messages == {name for channel in DOCUMENT["channels"].values() for name in channel["messages"]}
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values()}
    assert used == set(DOCUMENT["channels"])


@pytest.mark.parametrize("message", [*MESSAGES, *FRAMES])
def test_the_example_is_valid(message: str) -> None:
    [example] = DOCUMENT["components"]["messages"][message]["examples"]
    validate(example["payload"], message)
    with pytest.raises(jsonschema.ValidationError):
        validate([example["payload"]], message)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_of_another_type_is_not_valid(frame: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate({**FRAMES[frame], "type": "another"}, frame)


@pytest.mark.parametrize(
    "road", [road for road in asyncapi.ROADS if not road.sent], ids=lambda road: road.name
)
def test_the_gateway_takes_the_example_from_the_topic(road: asyncapi.MqttTopic) -> None:
    topic = topics.parse(address_of(road))
    now = datetime(2026, 1, 5, 21, 14, 5, tzinfo=UTC)
    payload = msgspec.json.encode(MESSAGES[road.name])
    take = owntracks.decode if topic.family is Family.OWNTRACKS else decode
    taken = take(
        address_of(road), topic, payload, received_at=now, limits=PayloadLimits(), fresh_key=lambda: b"k" * 16
    )
    assert PAYLOADS.get(topic.family, asyncapi.OwnTracksLocation) is road.payload
    assert taken is not None
    assert taken.origin.quality == ()
    assert now - taken.origin.recorded_at <= timedelta(seconds=2)


def test_every_topic_of_the_code_is_in_it() -> None:
    taken = [topics.parse(address_of(road)).family for road in asyncapi.ROADS if not road.sent]
    assert sorted(taken) == sorted(Family)
    heard = {
        word.partition("/")[0] for way in (FILTERS, OPTIONAL) for words in way.values() for word in words
    }
    assert heard == set(taken)
    assert set(DOCUMENT["channels"]["sensorData"]["parameters"]["kind"]["enum"]) == SENSOR_KINDS
    tree = ast.parse(Path(lane.__file__).read_text())
    texts = [node.values[0] for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and node.values]
    said = {
        text.value for text in texts if isinstance(text, ast.Constant) and re.fullmatch(r"\w+/", text.value)
    }
    assert said == {road.address.partition("{")[0] for road in asyncapi.ROADS if road.sent}


def test_a_receipt_is_described_as_it_is_sent() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for receipt in (
        Receipt("guard-7", None, "stored", now),
        Receipt("guard-7", "a", "acknowledged", now, "id", "Asha", True),
        Receipt("guard-7", "a", "refused", now, reason="no_fix"),
    ):
        sent = msgspec.json.decode(lane._receipt_payload(receipt))
        validate(sent, "receipt")
        assert set(sent) <= set(asyncapi.ReceiptPayload.__struct_fields__)


def test_the_session_makes_and_obeys_every_frame() -> None:
    """The document is made of the same types, and mypy checks that no other frame is made or obeyed."""
    made, obeyed = set(), set()
    for node in ast.walk(ast.parse(Path(session.__file__).read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._control":
            made |= {ast.unparse(arg.func) for arg in node.args if isinstance(arg, ast.Call)}
        if isinstance(node, ast.MatchClass):
            obeyed.add(ast.unparse(node.cls))
    assert made == {f"frames.{shape.__name__}" for shape in frames.CONTROL.values()}
    for shape in frames.CLIENT.values():
        assert {f"frames.{base.__name__}" for base in shape.__mro__} & obeyed


def test_every_frame_that_services_put_on_the_feed_is_in_it() -> None:
    put: set[str] = set()
    for path in (SOURCES / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr == "publish" and "feed" in owner:
                kind = node.args[1]
                put |= {kind.value} if isinstance(kind, ast.Constant) else ALERTS & strings_of(TELLING)
            elif node.func.attr == "seal" and path.name == "service.py":
                put |= {
                    k.value.value
                    for k in node.keywords
                    if k.arg == "type" and isinstance(k.value, ast.Constant)
                }
    assert put == set(frames.FEED)


TELLING = "services/alerts/publishing.py"
ALERTS = {"critical_alert", "alert_created", "alert_updated"}
"""Frames of an alert. The code that publishes an alert chooses one of these names."""
