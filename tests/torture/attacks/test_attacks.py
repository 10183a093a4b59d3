"""Tests that one bad client harms nobody else.

Honest panics, log-ins and reads go on beside every attack on the HTTP port.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.noc_processes import API, FEED, FRONT, Gateways, gateways
from tests.support.outside_clients import OutsideClients
from tests.torture.attacks.attackers import KINDS
from tests.torture.attacks.figures import (
    BACK_S,
    Figure,
    Figures,
    check_honest,
    running,
    seconds_until_as_before,
)
from tests.torture.attacks.honest import Honest, Measured

pytestmark = pytest.mark.long
"""All attacks take minutes, and their times mean something on a quiet machine only."""
SHORT_S = 8.0
LONG_S = 90.0
USUAL = {
    "connections_per_address": 200,
    "user_requests": {"count": 600, "window_s": 10},
    "address_requests": {"count": 6000, "window_s": 20},
    "open_requests": {"count": 120, "window_s": 12},
}
"""Limits as `config.yaml` has them. The tests' stack has higher ones."""
MEMORY_BYTES = 80_000_000
"""Bytes that each process may grow by during an attack."""
PROCESSES = (FEED, API, FRONT)
FLOODS = ("pongs", "pings", "empty_fragments", "small_fragments", "empty_messages")


@pytest.fixture(scope="module")
def one(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), api=True, **USUAL) as made:
        yield made


def resident_bytes(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def tokens(outside: OutsideClients, kind: str, *, count: int) -> str:
    """Return a comma-separated list of tokens of `count` viewers."""
    made = (outside.token(name=f"attacker-{kind}-{n}-{outside.run}", role="viewer") for n in range(count))
    return ",".join(made)


def check(outside: OutsideClients, one: Gateways, figures: Figures, kind: str, seconds: float) -> Measured:
    """Work alone, then beside the attack, then until all is as before. Check the limits."""
    processes = running(outside)
    honest = Honest(outside, one, kind.replace("_", "-"))
    try:
        alone = honest.work(3.0)
        before_bytes = {name: resident_bytes(one.pid(0, name)) for name in PROCESSES}
        token = tokens(outside, kind, count=24 if kind == "zeros_of_many_users" else 1)
        beside = honest.work(seconds, attack=kind, token=token)
        grown_bytes = {name: resident_bytes(one.pid(0, name)) - held for name, held in before_bytes.items()}
        back_s = seconds_until_as_before(honest, alone)
    finally:
        honest.close()
    figures.note(Figure(kind, seconds, alone, beside, max(grown_bytes.values()), back_s))
    check_honest(alone, beside)
    assert back_s <= BACK_S, f"{back_s:.0f} s after the attack it was not as before"
    for process, bytes_ in grown_bytes.items():
        assert one.is_ready(0, process)
        assert bytes_ < MEMORY_BYTES, process
    assert running(outside) == processes, "a process was killed, or ended"
    return beside


@pytest.mark.parametrize("kind", KINDS)
def test_honest_work_goes_on_beside_an_attack(
    outside: OutsideClients, one: Gateways, figures: Figures, kind: str
) -> None:
    beside = check(outside, one, figures, kind, SHORT_S)
    answers = beside.attack["answers"]
    if kind in FLOODS:
        assert answers.get("4429", 0) >= 1, answers
    if kind == "big_bodies":
        assert set(answers) <= {"413", "429", "ConnectionResetError", "BrokenPipeError", "TimeoutError"}, (
            answers
        )
    if kind in ("zeros_within_the_limit", "requests_of_one_user"):
        assert set(answers) <= {"400", "429", "ConnectionResetError", "BrokenPipeError", "TimeoutError"}, (
            answers
        )
        assert answers.get("400", 0) <= 600 + 60 * (SHORT_S + 6), answers
    if kind.startswith("wrong_passwords"):
        assert "503" not in answers, answers
        assert answers.get("429", 0) > answers.get("401", 0), answers


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_honest_work_goes_on_beside_a_long_attack(
    outside: OutsideClients, one: Gateways, figures: Figures, kind: str
) -> None:
    check(outside, one, figures, kind, LONG_S)
