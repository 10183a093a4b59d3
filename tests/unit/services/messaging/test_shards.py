"""Tests of shards: their owners, and the waiting events of each."""

from collections import Counter
from typing import NamedTuple

import pytest

from services.messaging.shards import ShardLines, ShardMembers, TakenItems, owners, shard_key, shard_of, split


class Item(NamedTuple):
    name: str
    size: int = 1


def lines(*, most_bytes: int = 100, enough_bytes: int = 4) -> ShardLines[Item]:
    return ShardLines(most_bytes=most_bytes, enough_bytes=enough_bytes)


def names(taken: list[TakenItems[Item]]) -> dict[int, list[str]]:
    return {shard: [item.name for item in items] for shard, items in taken}


@pytest.mark.parametrize(
    ("source", "shard"),
    [("guard-1", 4), ("guard-2", 6), ("sensor-17", 3), ("w\xe4chter", 1), ("\ud800", 0)],
)
def test_a_source_has_the_same_shard_in_every_process_and_version(source: str, shard: int) -> None:
    assert shard_of(source, 8) == shard
    assert shard_key("guard_gps_received", shard) == f"guard_gps_received.{shard}"


@pytest.mark.parametrize("name", ["guard-{}", "device-{:05}", "SENSOR/{}", "client7-{}"])
def test_sources_are_spread_over_all_shards(name: str) -> None:
    counts = Counter(shard_of(name.format(number), 8) for number in range(4_000))
    assert len(counts) == 8
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_items_are_split_by_the_shard_of_their_source_in_their_order() -> None:
    items = [(f"guard-{number % 50}", number) for number in range(500)]
    found = split(items, lambda item: item[0], 8)
    assert sorted(item for part in found.values() for item in part) == sorted(items)
    for shard, part in found.items():
        assert {shard_of(source, 8) for source, _ in part} == {shard}
        assert [number for _, number in part] == sorted(number for _, number in part)


@pytest.mark.parametrize("shards", [1, 8, 16])
@pytest.mark.parametrize("count", range(1, 21))
def test_all_shards_are_owned_and_members_differ_by_one_at_most(shards: int, count: int) -> None:
    members = [f"member-{number}" for number in range(count)]
    found = owners(shards, members)
    assert len(found) == shards
    assert set(found) <= set(members)
    counts = [Counter(found)[member] for member in members]
    assert max(counts) - min(counts) <= 1, "none is idle while another one has two"
    assert owners(shards, reversed(members)) == found  # type: ignore[arg-type]


def test_most_shards_stay_where_they_are_when_a_member_comes() -> None:
    moved = 0
    for number in range(50):
        before = owners(8, [f"{number}-a", f"{number}-b"])
        after = owners(8, [f"{number}-a", f"{number}-b", f"{number}-c"])
        moved += sum(one != other for one, other in zip(before, after, strict=True))
    assert moved / 50 < 4.5  # of 8: the new process takes two or three


def test_shards_without_members_are_nobody_s() -> None:
    with pytest.raises(ValueError, match="one member"):
        owners(8, [])


def test_a_member_takes_part_from_its_first_heartbeat_until_it_is_silent_or_leaves() -> None:
    members = ShardMembers("me", silent_after_s=6)
    assert members.list(0) == {"me"}

    members.receive("process-1", ("other",), 10)
    members.receive("process-2", ("third", "fourth"), 12)
    assert members.list(13) == {"me", "other", "third", "fourth"}

    members.receive("process-2", (), 14)
    assert members.list(16) == {"me", "other"}
    assert members.list(16.1) == {"me"}


def test_when_nothing_runs_all_that_waits_goes_at_once() -> None:
    waiting = lines()
    for shard in (1, 5, 6):
        waiting.put(shard, Item(f"{shard}"))
    assert names(waiting.take()) == {1: ["1"], 5: ["5"], 6: ["6"]}


def test_what_comes_meanwhile_forms_the_next_run_until_there_is_enough_for_one_beside_it() -> None:
    waiting = lines(enough_bytes=4)
    waiting.put(0, Item("first"))
    first = waiting.take()
    for shard in (1, 2, 3):
        waiting.put(shard, Item(f"{shard}"))
    waiting.put(0, Item("again"))
    assert waiting.take() == []

    waiting.put(3, Item("more"))
    assert names(waiting.take()) == {1: ["1"], 2: ["2"], 3: ["3", "more"]}
    waiting.leave(first)
    assert waiting.take() == []


def test_when_there_is_enough_for_two_runs_each_has_half_of_the_shards() -> None:
    waiting = lines(enough_bytes=4)
    for shard in range(4):
        waiting.put(shard, Item(f"{shard}a"))
        waiting.put(shard, Item(f"{shard}b"))
    assert names(waiting.take()) == {0: ["0a", "0b"], 1: ["1a", "1b"]}
    assert names(waiting.take()) == {2: ["2a", "2b"], 3: ["3a", "3b"]}
    assert waiting.take() == []


def test_nothing_of_a_shard_runs_while_something_of_it_runs() -> None:
    waiting = lines()
    waiting.put(3, Item("first"))
    taken = waiting.take()
    waiting.put(3, Item("second"))
    assert waiting.is_running(3)
    assert waiting.take() == []
    assert waiting.in_hand(3) == 2

    waiting.leave(taken)
    assert names(waiting.take()) == {3: ["second"]}


def test_a_run_takes_no_more_bytes_than_it_may_but_one_item_of_each_shard() -> None:
    waiting = lines(most_bytes=100)
    for name in "abcd":
        waiting.put(1, Item(name, 40))
    waiting.put(2, Item("large", 1_000))
    assert names(waiting.take()) == {1: ["a", "b"]}
    assert names(waiting.take()) == {2: ["large"]}


def test_what_a_run_could_not_do_comes_before_what_came_meanwhile() -> None:
    waiting = lines()
    waiting.put(1, Item("a"))
    waiting.put(1, Item("b"))
    taken = waiting.take()
    waiting.put(1, Item("c"))
    waiting.put_back(1, [Item("a"), Item("b")])
    waiting.leave(taken)
    assert names(waiting.take_one()) == {1: ["a"]}


def test_a_shard_that_is_closed_has_no_further_run_until_it_is_opened() -> None:
    waiting = lines()
    waiting.put(1, Item("a"))
    taken = waiting.take()
    waiting.put(1, Item("b"))
    waiting.close(1)
    waiting.leave(taken)
    assert waiting.take() == []
    assert waiting.is_idle()

    waiting.drop(1)
    waiting.open(1)
    assert waiting.take() == []
    waiting.put(1, Item("b, delivered again"))
    assert names(waiting.take()) == {1: ["b, delivered again"]}


def test_all_that_waits_of_one_shard_is_taken_when_it_does_not_run() -> None:
    waiting = lines(most_bytes=1)
    for name in "abc":
        waiting.put(1, Item(name))
    taken = waiting.take_all(1)
    assert names(taken) == {1: ["a", "b", "c"]}
    assert waiting.take_all(1) == waiting.take_all(2) == []
    waiting.leave(taken)
    assert waiting.waiting(1) == ()
