from datetime import UTC, datetime

from bench.ledger import load, messages
from bench.ledger.messages import LedgerEntry
from gateway.mqtt import packets as wire


def entry(number: int, *, copies: int = 1) -> LedgerEntry:
    return LedgerEntry("guard", f"guard/{number}/gps", b"{}", f"r-{number}", False, copies)


def sender(entries: list[LedgerEntry], *, acknowledged: int) -> load.LedgerSender:
    """Return a sender whose connection does not matter."""
    made = load.LedgerSender.__new__(load.LedgerSender)
    made.names = [e.msg_id for e in entries for _ in range(e.copies)]
    made.acknowledged = acknowledged
    return made


def test_packet_identifiers_go_round_from_1_and_never_are_0() -> None:
    packets = load.packets([entry(0)] * 65_536)
    found = [
        wire.parse_publish(first, body, 0, len(body)).message_id
        for first, body in wire.PacketReader().feed(b"".join(packets))
    ]
    assert found[0] == 1
    assert found[65_534:] == [65_535, 1]


def test_the_prefix_goes_before_the_topic() -> None:
    ((first, body),) = wire.PacketReader().feed(load.packets([entry(7)], "floor/")[0])
    assert wire.parse_publish(first, body, 0, len(body)).topic == b"floor/guard/7/gps"


def test_without_a_rate_a_chunk_may_go_out_at_any_time() -> None:
    assert load.allowance(elapsed_s=0.0, rate=None, sent=10_000, connections=4) == load.CHUNK


def test_a_rate_lets_out_what_is_due_and_never_more_than_a_chunk() -> None:
    assert load.allowance(elapsed_s=1.0, rate=100, sent=100, connections=4) == 0
    assert load.allowance(elapsed_s=1.0, rate=100, sent=150, connections=4) == 0
    assert load.allowance(elapsed_s=1.0, rate=100, sent=92, connections=4) == 2
    assert load.allowance(elapsed_s=9.0, rate=100, sent=0, connections=4) == load.CHUNK


def test_even_the_last_single_message_of_a_rate_goes_out() -> None:
    assert load.allowance(elapsed_s=1.0, rate=100, sent=99, connections=4) == 1


def test_what_is_behind_the_last_acknowledgement_is_unacknowledged() -> None:
    entries = [entry(n) for n in range(5)]
    assert sender(entries, acknowledged=3).unacknowledged == {"r-3", "r-4"}
    assert sender(entries, acknowledged=5).unacknowledged == set()


def test_one_acknowledged_copy_of_two_is_enough() -> None:
    entries = [entry(0), entry(1, copies=2)]
    assert sender(entries, acknowledged=2).unacknowledged == set()


def test_all_that_a_source_sends_goes_over_one_connection_in_its_order() -> None:
    entries = messages.make(
        count=2000, sources=50, seed=1, run="r", now=datetime(2026, 11, 23, 12, tzinfo=UTC)
    )
    shares = load.shares(entries, 4)
    assert sum(map(len, shares)) == len(entries)
    assert all(len(share) > 100 for share in shares)
    for topic in {entry.topic for entry in entries}:
        sent = [entry for entry in entries if entry.topic == topic]
        received = [[entry for entry in share if entry.topic == topic] for share in shares]
        assert [share for share in received if share] == [sent]
