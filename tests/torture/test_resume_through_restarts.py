"""Tests of a session that loses its connection at random, while gateways are killed.

Redis restarts meanwhile, full or empty.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from tests.support.noc_processes import Gateways, gateways
from tests.support.outside_clients import OutsideClients
from tests.support.roaming_session import AlarmSource, RoamingSession, balance, watcher_of
from tests.support.stack_parts import held_down

VISITS = 200
KILL_EVERY = 20

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def two(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), count=2) as made:
        yield made


@pytest.fixture
def alarms(outside: OutsideClients, stack: Stack) -> Iterator[AlarmSource]:
    made = AlarmSource(outside, stack, seed=3)
    yield made
    made.stop()


def restart_redis(stack: Stack, *, empty: bool) -> None:
    """Restart Redis.

    With `empty` it comes back without data, as after a failover to a replica that had none.
    """
    with held_down(stack, "redis"):
        if empty:
            shutil.rmtree(stack.home / "redis" / "appendonlydir")


@pytest.mark.parametrize("loss", ["none", "restarts", "restarts empty"])
def test_a_screen_that_is_cut_off_200_times_hears_every_alert_once_and_in_order(
    stack: Stack, outside: OutsideClients, two: Gateways, alarms: AlarmSource, loss: str
) -> None:
    """After a restart of Redis, the session begins from a snapshot, with `resumed: false`.

    Its last position is unknown.
    """
    token = outside.token(tenant_id=alarms.tenant_id)
    wanderer = RoamingSession(two.bases, token, watcher_of(outside, alarms.tenant_id), seed=3)
    kills = random.Random(3)
    alarms.start()
    wanderer.visit_until(lambda: wanderer.runs)
    restarts = 0
    for goal in range(KILL_EVERY, VISITS + 1, KILL_EVERY):
        wanderer.visit_until(lambda goal=goal: wanderer.visits >= goal)
        if loss != "none" and goal % 60 == 0:
            restart_redis(stack, empty=loss == "restarts empty")
            restarts += 1
        else:
            two.kill(kills.randrange(2))
    alarms.stop()
    balance(outside, alarms, wanderer)
    assert len(wanderer.runs) > restarts
    assert loss != "none" or len(wanderer.runs) == 1
