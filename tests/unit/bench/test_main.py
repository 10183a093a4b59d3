import pytest

from bench.__main__ import options


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ("", ["zones", "sockets", "rest", "quiet", "vigil", "rates", "copies", "naive", "floor", "peer"]),
        ("--copies 1", ["zones", "sockets", "rest", "quiet", "vigil", "rates", "naive", "floor", "peer"]),
        ("--copies 2", ["copies"]),
        ("--only vigil", ["quiet", "vigil"]),
        ("--only kills", ["kills"]),
        ("--kills", ["kills"]),
        ("--copies 2 --kills", ["copies", "kills"]),
        ("--only peer --kills", ["peer", "kills"]),
    ],
)
def test_steps_are_those_that_were_asked_for(arguments: str, steps: list[str]) -> None:
    assert options(arguments.split()).steps == steps


def test_quick_is_a_tenth_or_less() -> None:
    usual, quick = options([]), options(["--quick"])
    assert quick.messages * 10 <= usual.messages
    assert quick.rest_seconds * 10 <= usual.rest_seconds
