"""Tests that frames have the same fields in their description and in the code."""

import msgspec
import pytest

from services.contracts import api, frames


def test_a_listed_position_has_the_fields_of_the_feed_and_the_time_since_when_it_is_silent() -> None:
    [positions] = frames.FEED["positions"].__args__
    assert api.Position.__struct_fields__ == (*positions.__struct_fields__, "silent_since")


@pytest.mark.parametrize("shape", [*frames.CONTROL.values(), *frames.CLIENT.values()])
def test_a_frame_has_its_type_first(shape: type[msgspec.Struct]) -> None:
    assert list(msgspec.json.schema_components([shape])[1][shape.__name__]["properties"])[0] == "type"


def test_a_frame_is_of_its_own_type_alone() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "resume"}, frames.ClientHeartbeat)


def test_every_field_of_a_clients_frame_may_be_missing_except_its_object() -> None:
    """Clients of an earlier version do not send a new field."""
    needed = {
        name
        for shape in frames.CLIENT.values()
        for name, field in zip(shape.__struct_fields__, msgspec.structs.fields(shape), strict=True)
        if field.required
    }
    assert needed == {"alert_id", "client_id"}
