"""Tests that batches pass in the order of their arrival, and that one that gives up stops no other."""

import threading

from services.location.guard_turns import GuardTurns


def test_who_came_first_passes_first_and_who_gives_up_is_passed_over() -> None:
    turnstile, passed = GuardTurns(), list[str]()
    with turnstile.turn() as first:
        with turnstile.turn():
            third = turnstile.turn()
            last = third.__enter__()

            def wait() -> None:
                last.wait()
                passed.append("third")
                third.__exit__(None, None, None)

            waiting = threading.Thread(target=wait)
            waiting.start()
            first.wait()
            passed.append("first")
        # The second one has given up. The third still waits for the first.
        assert passed == ["first"]
        first.end()
        waiting.join(timeout=10)
        assert passed == ["first", "third"]
        first.wait()  # nobody waits for a turn that has ended
