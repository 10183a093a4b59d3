"""Tests that examples have the types of the code.

test_asyncapi.py checks them against their schemas.
"""

import msgspec
import pytest

from gateway.noc.api.examples import FRAMES
from services.contracts import frames


@pytest.mark.parametrize("kind", frames.CLIENT)
def test_a_clients_frame_is_of_its_type(kind: str) -> None:
    shape = frames.CLIENT[kind]
    assert msgspec.convert(FRAMES[f"client.{kind}"], shape, strict=True)


@pytest.mark.parametrize("kind", frames.FEED)
def test_what_is_in_a_frame_of_the_feed_is_of_its_type(kind: str) -> None:
    assert msgspec.convert(FRAMES[f"server.{kind}"]["data"], frames.FEED[kind], strict=True)
