"""One bad client harms nobody else: honest panics, log-ins and reads go on beside every attack on the HTTP port."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateways import API, FEED, FRONT, Gateways, gateways
from tests.outside import Outside
from tests.torture.attacks.attackers import KINDS
from tests.torture.attacks.honest import Honest, Measured, p

pytestmark = pytest.mark.long
"""All attacks take minutes, and their times say something on a quiet machine only."""
SHORT_S = 8.0
LONG_S = 90.0
PANIC_S = 0.5
"""Within which a panic stands on every screen, 99 of 100 times."""
LOADED = 5
"""On a machine that is busy already, an attack may make a panic so many times as slow as the slowest one before it."""
USUAL = {
    "connections_per_address": 200,
    "user_requests": {"count": 600, "window_s": 10},
    "address_requests": {"count": 6000, "window_s": 20},
    "open_requests": {"count": 120, "window_s": 12},
}
"""As `config.yaml` has them; the tests' stack is roomier."""
MEMORY_BYTES = 80_000_000
"""By which an attack may make each process grow."""
PROCESSES = (FEED, API, FRONT)
FLOODS = ("pongs", "pings", "empty_fragments", "small_fragments", "empty_messages")


@pytest.fixture(scope="module")
def one(request: pytest.FixtureRequest) -> Iterator[Gateways]:
    with gateways(request.getfixturevalue("stack"), api=True, **USUAL) as made:
        yield made


def resident_bytes(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def tokens(outside: Outside, kind: str, *, count: int) -> str:
    """The comma list of tokens of so many viewers."""
    made = (outside.token(name=f"attacker-{kind}-{n}-{outside.run}", role="viewer") for n in range(count))
    return ",".join(made)


def check(outside: Outside, one: Gateways, kind: str, seconds: float) -> Measured:
    """Work alone, then beside the attack. What is promised holds, or is as far off as it was on this machine before."""
    honest = Honest(outside, one, kind.replace("_", "-"))
    try:
        alone = honest.work(3.0)
        before_bytes = {kind: resident_bytes(one.pid(0, kind)) for kind in PROCESSES}
        token = tokens(outside, kind, count=24 if kind == "zeros_of_many_users" else 1)
        beside = honest.work(seconds, attack=kind, token=token)
    finally:
        honest.close()
    print(f"\n{kind}: alone {alone.says()}\n{kind}: beside {beside.says()}")
    assert p(beside.panics, 0.99) <= max(PANIC_S, LOADED * max(alone.panics)), beside.says()
    for process, bytes_ in before_bytes.items():
        assert one.is_ready(0, process)
        assert resident_bytes(one.pid(0, process)) - bytes_ < MEMORY_BYTES, process
    assert None not in beside.reads, beside.says()
    assert [took for took in beside.log_ins if took is not None], beside.says()
    return beside


@pytest.mark.parametrize("kind", KINDS)
def test_honest_work_goes_on_beside_an_attack(outside: Outside, one: Gateways, kind: str) -> None:
    beside = check(outside, one, kind, SHORT_S)
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
    if kind == "wrong_passwords":
        assert "503" not in answers, answers
        assert answers.get("429", 0) > answers.get("401", 0), answers


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_honest_work_goes_on_beside_a_long_attack(outside: Outside, one: Gateways, kind: str) -> None:
    check(outside, one, kind, LONG_S)


def test_after_an_attack_on_log_ins_the_next_log_in_is_prompt(outside: Outside, one: Gateways) -> None:
    honest = Honest(outside, one, "afterwards")
    try:
        honest.work(5.0, attack="wrong_passwords")
        started_s = time.monotonic()
        outside.until(lambda: None not in honest.work(0.1).log_ins, timeout_s=10)
        assert time.monotonic() - started_s < 10
    finally:
        honest.close()
