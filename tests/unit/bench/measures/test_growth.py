"""Tests of the bytes of a message, and of gigabytes a day."""

from bench.measures.growth import GROUPS, MIX, TABLES, TableSize, gb_a_day, of_run

EMPTY = dict.fromkeys(TABLES, TableSize(0, 8_192))


def test_a_message_bears_its_share_of_what_grows_with_it() -> None:
    after = EMPTY | {
        "mqtt_guard_location": TableSize(100, 8_192 + 40_000),
        "alert_occurrence": TableSize(100, 8_192 + 10_000),
        "alert_timeline": TableSize(120, 8_192 + 30_000),
        "message_seen": TableSize(200, 8_192 + 20_000),
    }
    found = of_run(EMPTY, after)
    assert found["identity_bytes_per_message"] == 100.0
    assert found["bytes_per_message"] == {"mqtt_guard_location": 500.0, "alert_occurrence": 500.0}
    assert found["gb_per_1000_sources_day"] is None


def test_the_sum_of_a_day_is_that_of_its_messages() -> None:
    # 500 guards x 8,640 + (300 + 180 + 20) x 1,440 + 100 alerts
    assert gb_a_day(dict.fromkeys(MIX, 1_000.0)) == 5.04
    assert gb_a_day({**dict.fromkeys(MIX, 0.0), "mqtt_guard_location": 1_000.0}) == 4.32


def test_the_mix_is_of_a_thousand_sources_and_of_tables_that_are_measured() -> None:
    assert sum(sender.sources for table, sender in MIX.items() if table != "alert_occurrence") == 1_000
    assert set(MIX) == set(GROUPS) <= set(TABLES)
