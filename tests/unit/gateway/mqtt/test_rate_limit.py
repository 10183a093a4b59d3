"""Tests of each source's rate. First presses pass beside anything else that the source sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt import rate_limit
from gateway.mqtt.rate_limit import FLOOD_ENDS_S, MessageClass, PressLimits, SourceLimits, SourceRate, kind_of

LIMIT = SourceRate(per_s=50, burst=500, backlog=1000, first_press_s=30)
PANIC = "alert/panic/guard-1"


def test_a_burst_passes_and_then_the_rate() -> None:
    limits = SourceLimits(LIMIT)
    at_once = [limits.judge("guard/1/gps", 100.0) for _ in range(600)]
    assert at_once == [MessageClass.FIRST] * 500 + [MessageClass.OVER] * 100
    later = [limits.judge("guard/1/gps", 102.0) for _ in range(200)]
    assert later == [MessageClass.FIRST] * 100 + [MessageClass.OVER] * 100
    assert limits.judge("guard/2/gps", 100.0) is MessageClass.FIRST


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=400), st.integers(1, 50))
def test_no_window_holds_more_than_the_burst_and_the_rate(gaps: list[float], burst: int) -> None:
    limits = SourceLimits(SourceRate(per_s=50, burst=burst, backlog=1, first_press_s=30))
    now_s, passed = 1000.0, []
    for gap_s in gaps:
        now_s += gap_s
        if limits.judge("guard/1/gps", now_s) is MessageClass.FIRST:
            passed.append(now_s)
    for number, since_s in enumerate(passed):
        for count, until_s in enumerate(passed[number:], start=1):
            assert count <= burst + (until_s - since_s) * 50 + 1e-6


def test_all_topics_of_a_source_share_its_rate() -> None:
    limits = SourceLimits(LIMIT)
    topics = ("guard/1/gps", "guard/guard-1/gps", "device/guard-1/telemetry")
    shares = [limits.judge(topics[number % 3], 5.0) for number in range(501)]
    assert shares[-1] is MessageClass.OVER
    assert shares[-2] is MessageClass.FIRST


@pytest.mark.parametrize(
    "topic",
    ["sensor/s/alarm", "guard/guard-1/panic", "device/s/SOS", "sensor/s/alarm/"],
)
def test_the_first_alarm_on_any_topic_passes_in_the_bulk_lane(topic: str) -> None:
    limits = SourceLimits(LIMIT)
    noise = f"{topic.split('/')[0]}/{limits.source_of(topic)}/reading"
    for _ in range(2000):
        limits.judge(noise, 1.0)
    assert [limits.judge(topic, 1.0) for _ in range(3)] == [
        MessageClass.FIRST,
        MessageClass.OVER,
        MessageClass.OVER,
    ]
    assert limits.judge(topic, 31.5) is MessageClass.FIRST


@given(
    st.lists(
        st.tuples(
            st.sampled_from([PANIC, "alert/sos/guard-1", "alert/low_battery/guard-1", "alert/x/guard-1"]),
            st.floats(0, 20),
        ),
        max_size=200,
    ),
    st.integers(0, 3000),
)
def test_the_first_press_of_each_type_is_never_held(
    presses: list[tuple[str, float]], other_presses: int
) -> None:
    # Given a source that sends any number of alerts of a type
    limits = PressLimits(LIMIT)
    now_s, first_s = 50.0, dict[str, float]()
    for _ in range(other_presses):
        limits.judge("alert/tamper/guard-1", now_s)

    # When it presses, at any time
    for topic, gap_s in presses:
        now_s += gap_s
        share = limits.judge(topic, now_s)

        # Then the first press of a type within thirty seconds goes at once
        if now_s - first_s.get(topic, float("-inf")) >= 30:
            first_s[topic] = now_s
            assert share is MessageClass.FIRST


def test_a_few_repeats_go_alone_then_together_and_beyond_the_rate_they_are_counted() -> None:
    limits = PressLimits(LIMIT)
    shares = [limits.judge(PANIC, 10.0) for _ in range(600)]
    assert shares == [MessageClass.FIRST] * 6 + [MessageClass.REPEAT] * 494 + [MessageClass.OVER] * 100


def test_many_sources_that_repeat_at_once_share_what_goes_alone() -> None:
    limits = PressLimits(LIMIT)
    shares = [limits.judge(f"alert/panic/guard-{number}", 10.0) for _ in range(10) for number in range(200)]
    assert shares.count(MessageClass.FIRST) == 200 + rate_limit.ALL_ALONE_BURST
    assert limits.judge("alert/panic/guard-999", 10.0) is MessageClass.FIRST


def test_a_repeat_overtakes_none_of_its_source_that_waits() -> None:
    limits = PressLimits(LIMIT)
    for number in range(rate_limit.ALL_ALONE_BURST + 1):
        limits.judge(f"alert/panic/guard-{number}", 10.0)
        limits.judge(f"alert/panic/guard-{number}", 10.0)
    behind = f"alert/panic/guard-{rate_limit.ALL_ALONE_BURST}"
    assert [limits.judge(behind, 10.0 + later_s) for later_s in (0.5, 1.5)] == [MessageClass.REPEAT] * 2
    assert limits.judge(behind, 14.0) is MessageClass.FIRST
    assert limits.judge(f"alert/sos/guard-{rate_limit.ALL_ALONE_BURST}", 10.5) is MessageClass.FIRST


def test_spellings_of_a_type_are_one_kind_and_words_without_a_type_another() -> None:
    assert kind_of("alert/guard-1/panic") == kind_of("alert/Panic_Button/guard-1") == "PANIC"
    assert kind_of("alert/one/guard-1") == kind_of("alert/two/guard-1") == rate_limit.OTHER


def test_what_a_device_kept_has_a_bucket_of_its_own() -> None:
    limits = SourceLimits(LIMIT)
    assert not limits.takes_backlog("guard/1/gps", 1.0, is_old=False)
    passed = [limits.takes_backlog("guard/1/gps", 1.0, is_old=True) for _ in range(1500)]
    assert passed.count(True) == 1000


def test_the_latest_positions_pass_behind_those_that_a_device_kept() -> None:
    limits = SourceLimits(LIMIT)
    assert limits.takes_backlog("guard/1/gps", 1.0, is_old=True)
    passed = [limits.takes_backlog("guard/1/gps", 2.0, is_old=False) for _ in range(700)]
    assert passed.count(True) == 500
    assert not limits.takes_backlog("guard/1/gps", 30.0, is_old=False)


def test_a_flood_is_news_once_when_it_begins_and_once_when_it_ends() -> None:
    limits = SourceLimits(LIMIT)
    assert limits.floods(1.0) == []
    for second in range(5):
        limits.note("guard-1", 10.0 + second, refused=1450)
    assert limits.floods(10.5) == []
    [began] = limits.floods(15.0)
    assert (began.source_id, began.is_over, began.refused) == ("guard-1", False, 7250)
    assert began.rate_per_s == pytest.approx(50 + 7250 / 4)
    assert limits.floods(16.0) == []
    [ended] = limits.floods(14.0 + FLOOD_ENDS_S)
    assert (ended.is_over, ended.refused) == (True, 7250)
    assert limits.floods(60.0) == []
    limits.note("guard-1", 100.0, counted=1)
    [again] = limits.floods(101.0)
    assert (again.is_over, again.refused, again.counted) == (False, 0, 1)


def test_topics_are_forgotten_and_a_source_that_floods_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "REMEMBERED_TOPICS", 100)
    limits = PressLimits(LIMIT)
    for number in range(1000):
        limits.judge(f"alert/word-{number}/guard-1", 10.0)
    assert limits.judge("alert/word-1001/guard-1", 10.0) is MessageClass.OVER
    assert len(limits._by_topic) <= 100


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        SourceLimits(SourceRate(per_s=0, burst=1, backlog=1, first_press_s=1))
