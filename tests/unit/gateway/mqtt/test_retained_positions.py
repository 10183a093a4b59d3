import pytest

from gateway.mqtt.retained_positions import bears_place


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("guard/7/gps", b'{"lat":12.9,"lon":77.5}'),
        ("guard/7/gps", b'{"lat":"12.9","lng":"77,5"}\0'),
        ("guard/7/gps", b"12.9 77.5 garbage"),
        ("guard/7/gps", b"\xff\xfe"),
        ("owntracks/7/phone", b'{"_type":"location","lat":12.9,"lon":77.5}'),
        ("owntracks/7/phone", b'{"_type":"encrypted","data":"c2VjcmV0"}'),
        ("owntracks/7/phone/event", b'{"_type":"transition","lat":12.9,"lon":77.5}'),
        ("owntracks/7/phone/waypoints", b'{"_type":"waypoints","waypoints":[{"lat":1,"lon":2}]}'),
        ("alert/panic/7", b'{"message":"help","location":{"lat":12.9,"lon":77.5}}'),
        ("alert/panic/7", b'{"location":"12.9,77.5"}'),
        ("alert/panic/7/x", b'{"type":"Feature","geometry":{"type":"Point","coordinates":[77.5,12.9]}}'),
        ("device/d/telemetry", b'{"battery":5,"gps":{"latitude":12.9,"longitude":77.5}}'),
        ("device/d/state", b'{"a":{"b":{"coordinates":[77.5,12.9]}}}'),
    ],
)
def test_a_message_with_somebody_s_place_is_not_left_at_the_broker(topic: str, payload: bytes) -> None:
    assert bears_place(topic, payload)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("guard/7/gps", b""),
        ("guard/7/LWT", b"Offline"),
        ("guard/7/gps", b'{"lat":0,"lon":0}'),
        ("owntracks/7/phone", b'{"_type":"lwt","tst":1}'),
        ("owntracks/7/phone/info", b'{"_type":"card","name":"A"}'),
        ("alert/panic/7", b'{"message":"help"}'),
        ("alert/panic/7", b"garbage"),
        ("device/d/telemetry", b'{"battery":5}'),
        ("device/d/LWT", b"Online"),
        ("device/d/telemetry", b'{"values":[1,2,3,4]}'),
    ],
)
def test_a_message_without_a_place_stays(topic: str, payload: bytes) -> None:
    assert not bears_place(topic, payload)
