from services.supervision import work_in_hand
from services.supervision.work_in_hand import Standing, Work


def stood(standing: Standing, *looks: tuple[float, Work]) -> float:
    return [standing.look(found, now_s) for now_s, found in looks][-1]


def test_work_that_is_finished_or_not_there_does_not_stand() -> None:
    assert stood(Standing(), *((n, Work("1 f", n)) for n in range(100))) == 0
    assert stood(Standing(), *((n, Work("", 7)) for n in range(100))) == 0


def test_work_in_hand_of_which_none_is_finished_stands() -> None:
    standing = Standing()
    assert stood(standing, *((n, Work("1 f", 7)) for n in range(31))) == 30
    assert standing.look(Work("1 f", 8), 31) == 0
    assert standing.look(Work("1 f", 8), 32) == 1


def test_time_in_which_nobody_looked_hardly_counts() -> None:
    # The process was held, or the machine slept for an hour.
    assert stood(Standing(), (0, Work("1 f", 7)), (3600, Work("1 f", 7))) == Standing.LONGEST_TURN_S


def test_a_part_that_is_watched_twice_is_looked_at_once() -> None:
    looks = []

    def look() -> dict[str, Work]:
        looks.append(1)
        return {"test": Work("1 f", 3)}

    work_in_hand.watch(look)
    work_in_hand.watch(look)
    assert work_in_hand.parts()["test"] == Work("1 f", 3)
    assert looks == [1]
