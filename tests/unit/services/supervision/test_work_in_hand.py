from services.supervision import work_in_hand
from services.supervision.work_in_hand import PartWork, StalledTime


def stood(standing: StalledTime, *looks: tuple[float, PartWork]) -> float:
    return [standing.look(found, now_s) for now_s, found in looks][-1]


def test_work_that_is_finished_or_not_there_does_not_stand() -> None:
    assert stood(StalledTime(), *((n, PartWork("1 f", n)) for n in range(100))) == 0
    assert stood(StalledTime(), *((n, PartWork("", 7)) for n in range(100))) == 0


def test_work_in_hand_of_which_none_is_finished_stands() -> None:
    standing = StalledTime()
    assert stood(standing, *((n, PartWork("1 f", 7)) for n in range(31))) == 30
    assert standing.look(PartWork("1 f", 8), 31) == 0
    assert standing.look(PartWork("1 f", 8), 32) == 1


def test_time_in_which_nobody_looked_hardly_counts() -> None:
    # The process was held, or the machine slept for an hour.
    assert (
        stood(StalledTime(), (0, PartWork("1 f", 7)), (3600, PartWork("1 f", 7)))
        == StalledTime.LONGEST_TURN_S
    )


def test_a_part_that_is_watched_twice_is_looked_at_once() -> None:
    looks = []

    def look() -> dict[str, PartWork]:
        looks.append(1)
        return {"test": PartWork("1 f", 3)}

    work_in_hand.watch(look)
    work_in_hand.watch(look)
    assert work_in_hand.parts()["test"] == PartWork("1 f", 3)
    assert looks == [1]
