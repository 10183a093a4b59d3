import pytest

from bench import shard_balance
from bench.shard_balance import KINDS, by_process, by_shard, heaviest, rates
from services.messaging.shards import shard_of


def test_each_kind_has_its_share_of_the_sources_and_all_send() -> None:
    found = rates(1000, seed=1)
    assert sum(kind.of_1000 for kind in KINDS) == 1000
    assert sum(name.startswith("guard-") for name in found) == 490
    assert min(found.values()) > 0


def test_the_same_seed_makes_the_same_rates() -> None:
    assert rates(100, seed=1) == rates(100, seed=1) != rates(100, seed=2)


def test_a_source_stays_on_its_shard_and_all_of_the_load_is_on_some_shard() -> None:
    found = rates(2000, seed=1)
    loads = by_shard(found, 8)
    assert sum(loads) == pytest.approx(sum(found.values()))
    assert loads[shard_of("guard-1", 8)] == pytest.approx(
        sum(rate for name, rate in found.items() if shard_of(name, 8) == shard_of("guard-1", 8))
    )


def test_processes_take_whole_shards_and_one_more_at_most() -> None:
    assert sorted(by_process([1.0] * 8, 3, seed=1)) == [2.0, 3.0, 3.0]
    parts = by_process([16.0, 4.0, 2.0, 1.0], 2, seed=1)
    assert sum(parts) == 23.0
    assert max(parts) in (17.0, 18.0, 20.0)


def test_even_parts_are_at_one_and_a_part_that_has_all_is_at_their_number() -> None:
    assert heaviest([2.0, 2.0, 2.0]) == 1.0
    assert heaviest([0.0, 0.0, 6.0]) == 3.0


def test_more_sources_are_spread_more_evenly() -> None:
    found = {
        count: heaviest_shard.mean
        for count, _, heaviest_shard, _ in shard_balance.simulate(
            sources=(200, 20_000), shards=(16,), processes=(2,), seeds=3
        )
    }
    assert found[200] > found[20_000] >= 1.0


def test_the_table_has_a_line_for_each_number_of_sources_and_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_balance, "simulate", even_for_two)
    title, rule, *rows = shard_balance.lines()
    assert title.count("|") == rule.count("|") == 4 + len(shard_balance.PROCESSES)
    assert [row.split(" | ")[0] for row in rows] == ["| 500", "| 10,000"]


def even_for_two() -> object:
    even = shard_balance.ShardSpread(1.0, 1.0)
    processes = dict.fromkeys(shard_balance.PROCESSES, even)
    return [(500, 8, even, processes), (10_000, 8, even, processes)]
