from hypothesis import given
from hypothesis import strategies as st

from services.messaging.in_flight.suspects import SuspectTurns


def test_all_run_at_once_when_none_is_suspected() -> None:
    turns, started = SuspectTurns(), []
    for name in "abc":
        turns.enter(lambda name=name: started.append(name), alone=False)
    assert started == ["a", "b", "c"]


def test_a_suspect_waits_for_all_before_it_and_all_behind_wait_for_the_suspect() -> None:
    turns, started = SuspectTurns(), []
    for name in "abSdSf":
        turns.enter(lambda name=name: started.append(name), alone=name == "S")
    assert started == ["a", "b"]
    turns.leave()
    assert started == ["a", "b"]
    turns.leave()
    assert started == ["a", "b", "S"]
    turns.leave()
    assert started == ["a", "b", "S", "d"]
    turns.leave()
    assert started == ["a", "b", "S", "d", "S"]
    turns.leave()
    assert started == ["a", "b", "S", "d", "S", "f"]


@given(st.lists(st.booleans(), max_size=40), st.randoms(use_true_random=False))
def test_a_suspect_is_always_alone_and_everybody_runs_in_order(suspected: list[bool], chance: object) -> None:
    turns, started, running = SuspectTurns(), [], []

    def start(number: int) -> None:
        assert not any(suspected[other] for other in running), "another one is alone"
        assert not (suspected[number] and running), "it is not alone"
        started.append(number)
        if chance.random() < 0.3:  # type: ignore[attr-defined]
            turns.leave()  # done at once
        else:
            running.append(number)

    for number, alone in enumerate(suspected):
        turns.enter(lambda number=number: start(number), alone=alone)
        if running and chance.random() < 0.5:  # type: ignore[attr-defined]
            running.pop(chance.randrange(len(running)))  # type: ignore[attr-defined]
            turns.leave()
    while running:
        running.pop()
        turns.leave()
    assert started == list(range(len(suspected)))
