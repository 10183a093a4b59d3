import pytest

from bench.measures import capacity
from bench.measures.capacity import ProcessNeed

CPU = {"location": 0.03, "postgres": 0.05, "generator": 0.5, "epmd": 0.0}


def test_messages_are_those_of_the_mix() -> None:
    # 500 every 10 s, 500 every 60 s, and an alert a source in ten days.
    assert capacity.messages_per_s(1000) == pytest.approx(50 + 500 / 60 + 1000 / 864_000)
    assert capacity.messages_per_s(2000) == pytest.approx(2 * capacity.messages_per_s(1000))


def test_cores_are_those_of_the_messages_and_the_generator_is_none_of_it() -> None:
    per_s = capacity.messages_per_s(1_000_000)
    location, postgres = capacity.needs(CPU, 1_000_000)
    assert location == ProcessNeed("location", pytest.approx(per_s * 0.03 / 1000), 3)
    assert postgres == ProcessNeed("postgres", pytest.approx(per_s * 0.05 / 1000), 1)


def test_there_are_two_of_a_process_of_vigil_at_least() -> None:
    assert capacity.needs(CPU, 10)[0].processes == 2


def test_the_table_has_a_column_for_each_number_and_sums_up() -> None:
    title, rule, _, *rows = capacity.table(CPU, 2.5, (1000, 1_000_000))
    assert {line.count("|") for line in (title, rule, *rows)} == {5}
    assert rows[-2].startswith("| all | 0.0800 |")
    assert rows[-1] == "| database | | 2 GB a day | 2,500 GB a day |"
    assert len(list(capacity.table(CPU, None, (1000,)))) == len(rows) + 2
