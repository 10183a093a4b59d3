import json
from datetime import UTC, datetime

import pytest

from bench import rounds
from bench.ledger import messages
from bench.ledger.checker import LedgerBalance
from bench.rounds import LedgerCheck

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def test_a_round_is_messages_a_second_and_cpu_seconds_for_a_thousand() -> None:
    found = rounds._round(2000, 4.0, {"b": 3.0, "a": 0.5}, 0.05)
    assert found.per_s == 500
    assert found.cpu_s_per_1000 == {"a": 0.25, "b": 1.5}
    assert found.elsewhere == 0.05
    assert list(found.cpu_s_per_1000) == ["a", "b"]


def test_the_generator_s_work_is_not_that_of_a_contestant() -> None:
    found = rounds.BenchRound(1.0, {"location": 0.1, "postgres": 0.2, "generator": 5.0}, 0.0, [0.1, 0.2, 0.4])
    assert found.figures() == {
        "per_s": 1.0,
        "cpu_s_per_1000": pytest.approx(0.3),
        "elsewhere": 0.0,
        "marker_age_p50_s": 0.2,
        "marker_age_p99_s": 0.4,
        "marker_age_p100_s": 0.4,
    }


def test_the_report_holds_what_the_ledger_counted() -> None:
    balance = LedgerBalance(10, 7, 1, 1, 0, [], [], unconfirmed=1)
    assert LedgerCheck(balance, ["a"], 2, ["g"]).counts() == {
        "sent": 10,
        "stored": 7,
        "refused": 1,
        "dead": 1,
        "duplicates": 0,
        "unconfirmed": 1,
        "lost": 0,
        "misjudged": 0,
        "overtaken": 1,
        "shown_out_of_order": 2,
        "newest_not_shown": 1,
    }


def test_a_ledger_holds_when_it_balances_in_order_and_all_is_shown() -> None:
    balance = LedgerBalance(1, 1, 0, 0, 0, [], [])
    assert LedgerCheck(balance, []).holds
    assert not LedgerCheck(balance._replace(missing=["a"]), []).holds
    assert not LedgerCheck(balance, ["a"]).holds
    assert not LedgerCheck(balance, [], went_back=1).holds
    assert not LedgerCheck(balance, [], not_shown=["g"]).holds


def test_the_newest_position_of_each_guard_is_the_last_that_can_be_stored() -> None:
    entries = messages.make(count=3000, sources=5, seed=1, run="r", now=NOW)
    newest = rounds.newest_of(entries)
    last = [e for e in entries if e.topic == "guard/guard-1002/gps" and not e.refused][-1]
    assert len(newest) == 5
    assert newest["guard-1002"].isoformat() == json.loads(last.payload)["timestamp"]


def test_each_round_s_cpu_is_summed_for_the_quiet_pace_too() -> None:
    paces = rounds.PaceFigures({"position_commit_p50_ms": 4.0}, {"a": 1.0, "b": 0.25, "generator": 3.0})
    assert paces.figures() == {"position_commit_p50_ms": 4.0, "cpu_s_per_1000": 1.25}
