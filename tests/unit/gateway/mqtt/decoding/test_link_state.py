import pytest

from gateway.mqtt.decoding import link_state
from gateway.mqtt.decoding.link_state import LinkState
from services.contracts.families import Family


@pytest.mark.parametrize(
    ("topic", "payload", "link"),
    [
        ("device/d/telemetry", b"Offline", LinkState(Family.DEVICE, "d", False)),
        ("device/d/telemetry", b"Online\r\n", LinkState(Family.DEVICE, "d", True)),
        ("device/d/LWT", b"offline", LinkState(Family.DEVICE, "d", False)),
        ("device/d/tele/LWT", b"Online", LinkState(Family.DEVICE, "d", True)),
        ("device/d/availability", b'{"state":"online"}', LinkState(Family.DEVICE, "d", True)),
        ("device/d/availability", b'"offline"', LinkState(Family.DEVICE, "d", False)),
        ("device/d/online", b"true", LinkState(Family.DEVICE, "d", True)),
        ("device/d/online", b"0", LinkState(Family.DEVICE, "d", False)),
        ("device/d/LWT", b"", LinkState(Family.DEVICE, "d", None)),
        ("sensor/s/alarm", b"Offline", LinkState(Family.SENSOR, "s", False)),
        ("sensor/s/status", b"ONLINE\0", LinkState(Family.SENSOR, "s", True)),
        ("sensor/s/LWT", b"Online", LinkState(Family.SENSOR, "s", True)),
        ("system/health/x", b"offline", LinkState(Family.SYSTEM, "x", False)),
        ("system/x/LWT", b"online", LinkState(Family.SYSTEM, "x", True)),
        ("guard/7/LWT", b"disconnected", LinkState(Family.GUARD, "guard-7", False)),
    ],
)
def test_link_words_are_a_state_of_the_link(topic: str, payload: bytes, link: LinkState) -> None:
    assert link_state.read(topic, payload) == link


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("device/d/telemetry", b"{"),
        ("device/d/telemetry", b"true"),
        ("device/d/telemetry", b'{"state":"online"}'),
        ("device/d/telemetry", b""),
        ("device/d/LWT", b"maybe"),
        ("device/d/LWT", b"\xff"),
        ("device/d/LWT", b"offline" * 100),
        ("sensor/s/alarm", b"ALARM"),
        ("sensor/s/alarm", b""),
        ("alert/panic/g", b"Offline"),
        ("alert/g/LWT", b"Offline"),
        ("owntracks/7/phone", b"Offline"),
        ("device//LWT", b"Offline"),
        ("device", b"Offline"),
        ("", b"Offline"),
    ],
)
def test_anything_else_is_not(topic: str, payload: bytes) -> None:
    assert link_state.read(topic, payload) is None
