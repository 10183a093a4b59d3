from bench.measures import cpu

STAT = """cpu  200 10 90 5000 40 5 15 80 7 3
cpu0 100 5 45 2500 20 2 7 40 3 1
"""


def test_busy_is_all_but_idle_and_waiting_and_counts_stolen_time_and_no_guest_twice() -> None:
    assert cpu.machine_busy_s(STAT) == (200 + 10 + 90 + 5 + 15 + 80) / cpu.TICKS
