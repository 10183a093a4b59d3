import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import Refused
from services.contracts.events import AlertType
from services.directory.registry import source_ids


def test_a_guard_s_number_becomes_an_id_and_ids_are_kept() -> None:
    assert source_ids.check_source_id("789", family="guard") == "guard-789"
    assert source_ids.check_source_id("789", family="device") == "789"
    assert source_ids.check_source_id("cam_1.north:2@x", family="sensor") == "cam_1.north:2@x"
    assert (source_ids.number_of("789"), source_ids.number_of("guard-789")) == ("789", None)


@pytest.mark.parametrize("word", [*AlertType, "panic", "Panic", "low-battery", "geofence_violation"])
def test_an_alert_s_name_is_no_id(word: str) -> None:
    with pytest.raises(Refused, match="alert type"):
        source_ids.check_source_id(word, family="device")


@pytest.mark.parametrize("name", ["vigil-gateway", "vigil-admin", "Vigil-x"])
def test_nobody_is_called_as_vigil_itself_is(name: str) -> None:
    with pytest.raises(Refused, match="Vigil's own"):
        source_ids.check_source_id(name, family="device")


@given(st.text(max_size=140))
def test_no_id_can_break_out_of_its_topic(text: str) -> None:
    try:
        kept = source_ids.check_source_id(text, family="device")
    except Refused as error:
        assert repr(text) in str(error)
        return
    assert not set("/+#$% \0") & set(kept)
    assert kept.isprintable()
