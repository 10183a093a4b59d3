from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.websocket.position_bundles import LONGEST_PAUSE_S, MOST_BYTES, PositionBundles, pause_s


@pytest.mark.parametrize(
    ("sessions", "expected_s"), [(0, 0), (1, 0), (19, 0), (200, 0.05), (1000, 0.25), (5000, 0.25)]
)
def test_the_pause_grows_with_the_sessions(sessions: int, expected_s: float) -> None:
    assert pause_s(sessions) == pytest.approx(expected_s)


def test_the_first_frame_is_due_at_once_and_those_after_it_together() -> None:
    # Given a tenant with a thousand sessions
    bundles = PositionBundles()

    # When a frame comes, it is due
    bundles.add(1, 10, b"a")
    assert bundles.due(now_s=0) == [1]
    first = bundles.take(1, sessions=1000, now_s=0)
    assert first is not None
    assert (first.first_id, first.last_id, first.wire) == (10, 10, b"a")

    # When two more come, they wait for the end of the pause and go together
    bundles.add(1, 11, b"b")
    bundles.add(1, 12, b"c")
    assert bundles.due(now_s=0.1) == []
    assert bundles.rest_s(now_s=0.1) == pytest.approx(LONGEST_PAUSE_S - 0.1)
    assert bundles.due(now_s=LONGEST_PAUSE_S) == [1]
    second = bundles.take(1, sessions=1000, now_s=LONGEST_PAUSE_S)
    assert second is not None
    assert (second.first_id, second.last_id, second.wire) == (11, 12, b"bc")
    assert (second.ids, second.wires) == ([11, 12], [b"b", b"c"])
    assert bundles.rest_s(now_s=1) is None


def test_one_tenant_s_pause_holds_up_no_other_tenant() -> None:
    bundles = PositionBundles()
    bundles.add(1, 1, b"a")
    bundles.take(1, sessions=1000, now_s=0)
    bundles.add(1, 2, b"b")
    bundles.add(2, 3, b"c")
    assert bundles.due(now_s=0.01) == [2]
    assert bundles.rest_s(now_s=0.01) == 0


def test_a_large_bundle_goes_at_once() -> None:
    bundles = PositionBundles()
    bundles.add(1, 1, b"a")
    bundles.take(1, sessions=1000, now_s=0)
    bundles.add(1, 2, b"x" * MOST_BYTES)
    assert bundles.due(now_s=0.01) == [1]


def test_what_is_dropped_is_not_due() -> None:
    bundles = PositionBundles()
    bundles.add(1, 1, b"a")
    bundles.add(2, 1, b"a")
    bundles.drop(1)
    assert bundles.due(now_s=9) == [2]
    bundles.clear()
    assert bundles.due(now_s=9) == []
    assert bundles.take(2, sessions=1, now_s=9) is None


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2000), st.floats(0, 0.3)), max_size=40))
def test_nothing_is_lost_or_put_out_of_order(steps: list[tuple[int, int, float]]) -> None:
    bundles, now_s, got = PositionBundles(), 0.0, dict.fromkeys((1, 2, 3), b"")
    for number, (tenant_id, sessions, wait_s) in enumerate(steps):
        now_s += wait_s
        bundles.add(tenant_id, number, b"%d," % number)
        for due in bundles.due(now_s=now_s):
            bundle = bundles.take(due, sessions=sessions, now_s=now_s)
            assert bundle is not None
            got[due] += bundle.wire
    for tenant_id in got:
        bundle = bundles.take(tenant_id, sessions=1, now_s=now_s)
        got[tenant_id] += bundle.wire if bundle else b""
    numbers = {tenant_id: [int(n) for n in wires.split(b",") if n] for tenant_id, wires in got.items()}
    assert sorted(n for mine in numbers.values() for n in mine) == list(range(len(steps)))
    assert all(a < b for mine in numbers.values() for a, b in pairwise(mine))
