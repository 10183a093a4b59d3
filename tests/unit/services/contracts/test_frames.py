"""Tests that frames have the same fields in their description and in the code."""

import msgspec
import pytest

from gateway.noc.websocket.session import ClientFrame
from services.contracts import frames
from services.location.tracks.latest_positions import Position


def test_a_position_has_the_fields_that_location_sends() -> None:
    assert frames.FeedPosition.__struct_fields__ == Position.__struct_fields__


@pytest.mark.parametrize("kind", frames.CLIENT)
def test_a_clients_frame_has_no_field_that_the_gateway_does_not_read(kind: str) -> None:
    assert set(frames.CLIENT[kind].__struct_fields__) <= set(ClientFrame.__struct_fields__)


def test_a_frame_is_of_its_own_type_alone() -> None:
    for kind, shape in {**frames.CONTROL, **frames.CLIENT}.items():
        wanted = shape.__annotations__["type"]
        assert repr(kind).strip("'") in wanted if isinstance(wanted, str) else kind in wanted.__args__
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "resume"}, frames.ClientHeartbeat)
