"""Many who ask at once cost one answer."""

import pytest

from gateway.noc.recent import Recent


def test_it_is_made_once_until_it_is_too_old() -> None:
    now, made = [100.0], []

    def make() -> int:
        made.append(now[0])
        return len(made)

    recent = Recent(make, max_age_s=1.0, clock=lambda: now[0])
    assert [recent.get() for _ in range(50)] == [1] * 50
    now[0] += 0.99
    assert recent.get() == 1
    now[0] += 0.01
    assert [recent.get(), recent.get()] == [2, 2]


def test_a_failure_is_not_kept() -> None:
    answers = iter([OSError("no directory"), 7])

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return int(answer)

    recent = Recent(make, max_age_s=1.0, clock=lambda: 0.0)
    with pytest.raises(OSError, match="no directory"):
        recent.get()
    assert recent.get() == 7
