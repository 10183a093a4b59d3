from bench import copies
from bench.rounds import BenchRound


def round_of(per_s: float, cpu_s: float, *ages_s: float) -> BenchRound:
    return BenchRound(per_s, {"location": cpu_s, "generator": 9.0}, 0.0, sorted(ages_s))


def test_one_and_two_are_compared_by_their_means_without_the_generator() -> None:
    found = copies.compare(
        [round_of(900, 0.1), round_of(1100, 0.1)], [round_of(1200, 0.12, 0.1, 0.3), round_of(1400, 0.10)]
    )
    assert found == {
        "one_per_s": 1000.0,
        "two_per_s": 1300.0,
        "rate_two_to_one": 1.3,
        "one_cpu_s_per_1000": 0.1,
        "two_cpu_s_per_1000": 0.11,
        "cpu_two_to_one": 1.1,
        "two_marker_age_p100_s": 0.3,
        "one_cpu_by_process": {"location": 0.1},
        "two_cpu_by_process": {"location": 0.11},
    }


def test_two_of_a_kind_are_one_line_of_cpu() -> None:
    two = BenchRound(1.0, {"location": 0.1, "location@2": 0.3, "postgres": 0.2, "generator": 9.0}, 0.0)
    assert copies.by_process([two, two]) == {"location": 0.4, "postgres": 0.2}


def test_what_nothing_counts_is_left_out_and_what_is_counted_is_the_growth() -> None:
    assert copies._grown(None, None) == {}
    assert copies._grown(None, 4.0) == {"late_by_us": 4.0}
    assert copies._grown(3.0, 4.0) == {"late_by_us": 1.0}
