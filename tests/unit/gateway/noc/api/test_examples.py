"""Tests that examples have the types of the code.

test_asyncapi.py checks them against their schemas.
"""

import msgspec
import pytest

from gateway.noc.api.examples import FRAMES
from gateway.noc.websocket import client_frames
from services.contracts import frames


@pytest.mark.parametrize("kind", frames.CLIENT)
def test_a_clients_frame_is_of_its_type(kind: str) -> None:
    text = msgspec.json.encode(FRAMES[f"client.{kind}"]).decode()
    assert type(client_frames.decode(text)) is frames.CLIENT[kind]


@pytest.mark.parametrize("kind", frames.CONTROL)
def test_a_frame_of_the_gateway_is_of_its_type(kind: str) -> None:
    example = FRAMES[f"server.{kind}"]
    made = msgspec.json.decode(msgspec.json.encode(example), type=frames.CONTROL[kind])
    assert msgspec.json.decode(msgspec.json.encode(made)) == example


@pytest.mark.parametrize("kind", frames.FEED)
def test_what_is_in_a_frame_of_the_feed_is_of_its_type(kind: str) -> None:
    assert msgspec.convert(FRAMES[f"server.{kind}"]["data"], frames.FEED[kind], strict=True)
