"""Tests of the proof that a peer reads.

Answers prove it, and nothing that its kernel does alone.
"""

from gateway.noc.websocket.stall_detector import PROVED_EVERY_BYTES, StallDetector

TIMEOUT_S = 5.0
PING_BYTES = 2


def asked(*, now_s: float = 0.0, more_bytes: int = 0) -> StallDetector:
    proof = StallDetector(timeout_s=TIMEOUT_S)
    proof.sent(PROVED_EVERY_BYTES + more_bytes)
    assert proof.is_due
    proof.ping_sent(size_bytes=PING_BYTES, now_s=now_s)
    proof.sent(PING_BYTES)
    return proof


def test_little_needs_no_proof() -> None:
    proof = StallDetector(timeout_s=TIMEOUT_S)
    proof.sent(PROVED_EVERY_BYTES - 1)
    assert not proof.is_due
    assert not proof.is_missing(waiting_bytes=PROVED_EVERY_BYTES - 1, now_s=1e6)


def test_one_ping_at_a_time_and_the_next_after_so_many_bytes_more() -> None:
    proof = asked()
    proof.sent(10 * PROVED_EVERY_BYTES)
    assert not proof.is_due
    proof.answered()
    assert proof.is_due
    proof.ping_sent(size_bytes=PING_BYTES, now_s=1.0)
    proof.answered()
    assert not proof.is_due


def test_whose_kernel_takes_all_and_who_does_not_answer_stalls() -> None:
    proof = asked()
    assert not proof.is_missing(waiting_bytes=0, now_s=1.0)
    assert not proof.is_missing(waiting_bytes=0, now_s=5.9)
    assert proof.is_missing(waiting_bytes=0, now_s=6.0)


def test_what_arrives_behind_the_ping_is_no_progress() -> None:
    proof = asked()
    for second in range(1, 6):
        proof.sent(1000)
        assert not proof.is_missing(waiting_bytes=0, now_s=float(second))
    assert proof.is_missing(waiting_bytes=0, now_s=6.0)


def test_a_slow_line_is_no_stall_while_bytes_arrive() -> None:
    proof = asked(more_bytes=200_000)
    for step in range(1, 60):
        assert not proof.is_missing(
            waiting_bytes=PROVED_EVERY_BYTES + 200_000 - 1000 * step, now_s=4.0 * step
        )
    assert proof.is_missing(waiting_bytes=PROVED_EVERY_BYTES + 200_000 - 59_000, now_s=4.0 * 59 + TIMEOUT_S)


def test_an_answer_ends_the_wait() -> None:
    proof = asked()
    proof.answered()
    assert not proof.is_missing(waiting_bytes=0, now_s=1e6)
