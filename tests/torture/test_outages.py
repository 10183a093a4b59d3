"""Tests of a database that is away for five minutes under load.

Every message is stored soon after its return, each once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from services.messaging import QueueDepth, dead_letter_queue
from services.messaging.topology import delay_queue
from services.platform import config as configuration
from tests.field.test_outages import GUARDS, PANIC_BACK_S, Site, without
from tests.support.outside_clients import OutsideClients

AWAY_S = 300.0
RATE_PER_S = 200.0
FIRST_BACK_S, ALL_BACK_S = 10.0, 30.0
STORED = "SELECT count(*), count(DISTINCT msg_id) FROM mqtt_guard_location WHERE guard_id LIKE %s"

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def site(outside: OutsideClients) -> Iterator[Site]:
    made = Site(outside)
    yield made
    made.client.close()


def test_five_minutes_without_the_database_under_load_cost_no_message_and_little_time(
    outside: OutsideClients, stack: Stack, site: Site
) -> None:
    # Given no dead letters of ours
    config = configuration.load(environ=outside.env)
    dead_before = {letter.id for letter in dead_letter_queue.oldest_dead_letters(config.amqp.uri)}
    rungs = QueueDepth(config.amqp, [delay_queue(delay_s).name for delay_s in config.amqp.retry_delays_s])

    # When the database is away while fixes come all the time, and a panic every ten seconds
    sent = 0
    panics: set[str] = set()
    with without(stack, "postgres") as back_s:
        began_s = time.monotonic()
        while (at_s := time.monotonic() - began_s) < AWAY_S:
            while sent < at_s * RATE_PER_S:
                site.send(f"guard/{site.guards[sent % GUARDS]}/gps", f"m{sent}", lat=12.9, lon=77.6)
                sent += 1
            if len(panics) < min(at_s / 10, GUARDS):
                guard = site.guards[len(panics)]
                site.send(f"alert/panic/{guard}", f"p{len(panics)}", message="help")
                panics.add(f"p{len(panics)}")
            site.client.listen(wait_s=0.005)
        waiting_on_rungs = rungs.waiting()
    rungs.close()
    fixes = {f"m{number}" for number in range(sent)}
    site.await_receipts(fixes | panics, 10 * ALL_BACK_S)

    # Then all messages are stored, once each, and soon
    took_s = sorted(site.stored_s[msg_id] - back_s[0] for msg_id in fixes)
    panic_s = max(site.stored_s[msg_id] for msg_id in panics) - back_s[0]
    print(
        f"{sent} fixes: first {took_s[0]:.1f} s, last {took_s[-1]:.1f} s after the return; panics {panic_s:.1f} s"
    )
    assert took_s[0] < FIRST_BACK_S
    assert took_s[-1] < ALL_BACK_S
    assert panic_s < PANIC_BACK_S
    with OutsideClients(stack) as again:
        assert again.rows(STORED, f"%{outside.run}%") == [(sent, sent)]
    assert waiting_on_rungs == 0
    assert {letter.id for letter in dead_letter_queue.oldest_dead_letters(config.amqp.uri)} == dead_before
