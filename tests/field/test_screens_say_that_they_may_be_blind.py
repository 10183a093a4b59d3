"""Tests that a console page says within ten seconds that alarms may not reach it.

It gives the reason, and also says when alarms reach it again.
"""

from __future__ import annotations

import pytest

from tests.support.freezing import freeze
from tests.support.outside_clients import OutsideClients


@pytest.mark.parametrize(("process", "part"), [("postgres", "postgres"), ("location", "location")])
def test_every_screen_names_a_frozen_part_and_sees_again_after_it(
    outside: OutsideClients, process: str, part: str
) -> None:
    # Given: websocket sessions of two tenants, which work
    screens = [outside.screen(), outside.screen(tenant_id=4490, role="viewer")]
    for screen in screens:
        screen.wait("snapshot")

    # When: a process runs and does nothing
    told = freeze(outside, screens, process=process, part=part, hold_s=8.0)

    # Then: the session named it in time, and named nothing else
    assert told.named == {part}
    assert told.ready.status == 503
    assert part in told.ready.away
    assert told.ready.took_s < 2.0
