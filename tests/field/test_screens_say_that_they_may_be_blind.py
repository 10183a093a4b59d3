"""A screen says within ten seconds that alarms may not reach it, with the reason, and that they do again."""

from __future__ import annotations

import pytest

from tests.freezing import freeze
from tests.outside import Outside


@pytest.mark.parametrize(("process", "part"), [("postgres", "postgres"), ("location", "location")])
def test_every_screen_names_a_frozen_part_and_sees_again_after_it(
    outside: Outside, process: str, part: str
) -> None:
    # Given: screens of two tenants, which see
    screens = [outside.screen(), outside.screen(tenant_id=4490, role="viewer")]
    for screen in screens:
        screen.wait("snapshot")

    # When: a part is there and does nothing
    told = freeze(outside, screens, process=process, part=part, hold_s=8.0)

    # Then: it was named in time, and nothing else was
    assert told.named == {part}
    assert told.ready.status == 503
    assert part in told.ready.away
    assert told.ready.took_s < 2.0
