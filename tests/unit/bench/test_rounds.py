from bench import rounds
from bench.checker import Balance


def test_a_round_is_messages_a_second_and_cpu_seconds_for_a_thousand() -> None:
    found = rounds._round(2000, 4.0, {"b": 3.0, "a": 0.5}, 0.05)
    assert found.per_s == 500
    assert found.cpu_s_per_1000 == {"a": 0.25, "b": 1.5}
    assert found.elsewhere == 0.05
    assert list(found.cpu_s_per_1000) == ["a", "b"]


def test_the_report_holds_what_the_ledger_counted() -> None:
    balance = Balance(10, 7, 1, 1, 0, [], [], unconfirmed=1)
    assert rounds.counts(balance) == {
        "sent": 10,
        "stored": 7,
        "refused": 1,
        "dead": 1,
        "duplicates": 0,
        "unconfirmed": 1,
    }
