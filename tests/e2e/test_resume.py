"""Tests of a client that loses the connection again and again.

It misses nothing and gets nothing twice, whichever gateways are left.
"""

import random
from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from tests.support.noc_processes import Gateways, gateways
from tests.support.outside_clients import OutsideClients
from tests.support.roaming_session import AlarmSource, RoamingSession, balance, watcher_of

VISITS = 60
KILL_EVERY = 20


@pytest.fixture(scope="module")
def two(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), count=2) as made:
        yield made


@pytest.fixture
def alarms(outside: OutsideClients, stack: Stack) -> Iterator[AlarmSource]:
    made = AlarmSource(outside, stack, seed=7)
    yield made
    made.stop()


def test_a_screen_that_is_cut_off_again_and_again_hears_every_alert_once_and_in_order(
    outside: OutsideClients, two: Gateways, alarms: AlarmSource
) -> None:
    token = outside.token(tenant_id=alarms.tenant_id)
    wanderer = RoamingSession(two.bases, token, watcher_of(outside, alarms.tenant_id), seed=7)
    kills = random.Random(7)
    alarms.start()
    wanderer.visit_until(lambda: wanderer.runs)
    for goal in range(KILL_EVERY, VISITS + 1, KILL_EVERY):
        wanderer.visit_until(lambda goal=goal: wanderer.visits >= goal)
        two.kill(kills.randrange(2))
    alarms.stop()
    balance(outside, alarms, wanderer)
    assert len(wanderer.runs) == 1, "every gateway takes up where any other left off"
