import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt import access_control
from gateway.mqtt.decoding import topics
from gateway.mqtt.decoding.topics import Topic
from services.contracts.errors import InvalidMessage
from services.contracts.families import Family


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("device/test-sensor-001/telemetry", Topic(Family.DEVICE, "test-sensor-001")),
        ("guard/guard-789/gps", Topic(Family.GUARD, "guard-789")),
        ("guard/789/gps", Topic(Family.GUARD, "guard-789")),
        ("sensor/s1/alarm", Topic(Family.SENSOR, "s1", "alarm")),
        ("system/health/srv-1", Topic(Family.SYSTEM, "srv-1")),
        ("alert/panic/guard-789", Topic(Family.ALERT, "guard-789", "panic")),
        ("alert/guard-789/panic", Topic(Family.ALERT, "guard-789", "panic")),
        ("alert/weird/guard-789", Topic(Family.ALERT, "guard-789", "weird")),
        ("owntracks/7/phone", Topic(Family.OWNTRACKS, "guard-7", "phone")),
        ("owntracks/guard-7/phone/event", Topic(Family.OWNTRACKS, "guard-7", "phone/event")),
        ("alert/panic/sos", Topic(Family.ALERT, "sos", "panic")),
        ("alert/panic/789", Topic(Family.ALERT, "guard-789", "panic")),
        ("alert/789/Man-Down", Topic(Family.ALERT, "guard-789", "Man-Down")),
        ("alert/guard-1/fall_detected", Topic(Family.ALERT, "guard-1", "fall_detected")),
        ("alert/sos/356938035643809", Topic(Family.ALERT, "356938035643809", "sos")),
    ],
)
def test_a_topic_of_the_contract_says_family_source_and_detail(text: str, topic: Topic) -> None:
    assert topics.parse(text) == topic


@pytest.mark.parametrize(
    "text",
    [
        "",
        "device",
        "device/x",
        "device/x/gps",
        "device//telemetry",
        "device/x/telemetry/more",
        "guard/1/telemetry",
        "sensor/s/unknown",
        "system/x/y",
        "alert/panic",
        "alert/panic/",
        "other/x/y",
        "guard/" + "x" * 129 + "/gps",
        "guard/a\tb/gps",
        "owntracks/7",
        "owntracks//phone",
        "owntracks/7/phone/event/more",
    ],
)
def test_any_other_shape_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        topics.parse(text)
    assert refused.value.reason in ("topic_shape", "topic_source")


@given(st.text())
def test_no_text_makes_the_parser_raise_anything_but_invalid_message(text: str) -> None:
    try:
        topics.parse(text)
    except InvalidMessage as error:
        assert error.reason


def test_only_families_become_metric_labels() -> None:
    assert topics.family_of("guard/1/gps") == "guard"
    assert topics.family_of("secret-name/1/gps") == "other"


def test_test_messages_of_the_watchdog_are_counted_apart() -> None:
    for topic in access_control.TEST_TOPICS:
        assert topics.metric_prefix(topic) == "watchdog"
    assert topics.metric_prefix("guard/guard-789/gps") == "guard"
    assert topics.metric_prefix("nonsense/x") == "other"


def test_a_group_shares_what_one_gateway_would_hear() -> None:
    assert topics.shared("vigil", "site-a/guard/#") == "$share/vigil/site-a/guard/#"
    assert topics.shared("", "guard/#") == "guard/#"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("alert/panic/guard-7/", "guard-7"),
        ("alert/panic/site1/guard-7", "guard-7"),
        ("alert/panic/site1/7", "guard-7"),
        ("alert/panic/", "alert/panic/"),
        ("alert/panic", "alert/panic"),
        ("guard/guard-7/panic", "guard-7"),
        ("guard/7/alarm/now", "guard-7"),
        ("sensor/s1/ALARM", "s1"),
        ("sensor/s1/alarm/", "s1"),
        ("sensor/alarm/s1", "s1"),
        ("alert/panic/a\tb", "alert/panic/a?b"),
        ("alert/" + "panic/" * 200, ("alert/" + "panic/" * 200)[:128]),
        ("alert/panic/" + "x" * 129, ("alert/panic/" + "x" * 129)[:128]),
    ],
)
def test_a_topic_of_the_wrong_shape_still_says_who_sent_it(text: str, source: str) -> None:
    assert topics.source_in(text) == source
