"""Tests that frames have the same fields in their description and in the code."""

import msgspec
import pytest

from gateway.noc.websocket.session import ClientFrame
from services.contracts import api, frames


def test_a_listed_position_has_the_fields_of_the_feed_and_the_time_since_when_it_is_silent() -> None:
    [positions] = frames.FEED["positions"].__args__
    assert api.Position.__struct_fields__ == (*positions.__struct_fields__, "silent_since")


@pytest.mark.parametrize("kind", frames.CLIENT)
def test_a_clients_frame_has_no_field_that_the_gateway_does_not_read(kind: str) -> None:
    assert set(frames.CLIENT[kind].__struct_fields__) <= set(ClientFrame.__struct_fields__)


def test_a_frame_is_of_its_own_type_alone() -> None:
    for kind, shape in {**frames.CONTROL, **frames.CLIENT}.items():
        wanted = shape.__annotations__["type"]
        assert repr(kind).strip("'") in wanted if isinstance(wanted, str) else kind in wanted.__args__
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "resume"}, frames.ClientHeartbeat)
