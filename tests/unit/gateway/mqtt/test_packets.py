from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt import packets as wire


def test_known_packets_have_the_bytes_of_the_standard() -> None:
    assert wire.connect("a") == bytes.fromhex("100d00044d5154540402000000016" + "1")
    assert wire.publish("a/b", b"hi", message_id=10) == bytes.fromhex("32090003612f62000a6869")
    assert wire.subscribe("a/b", message_id=1) == bytes.fromhex("820800010003612f6201")
    assert wire.puback([1, 258]) == bytes.fromhex("4002000140020102")


@given(
    st.lists(
        st.tuples(st.text("ab/", min_size=1, max_size=9), st.binary(max_size=300), st.integers(1, 65535))
    ),
    st.integers(1, 50),
)
def test_a_stream_cut_anywhere_gives_the_packets_that_went_in(
    messages: list[tuple[str, bytes, int]], cut: int
) -> None:
    stream = b"".join(wire.publish(topic, payload, message_id=mid) for topic, payload, mid in messages)
    reader = wire.PacketReader()
    packets = [packet for at in range(0, len(stream), cut) for packet in reader.feed(stream[at : at + cut])]
    found = [wire.parse_publish(first, body, 0, len(body)) for first, body in packets]
    assert [(m.topic.decode(), m.payload, m.message_id) for m in found] == messages


def test_properties_of_version_5_are_passed_over() -> None:
    body = b"\x00\x01t" + b"\x00\x07" + b"\x05" + b"\x02\x00\x00\x00\x09" + b"payload"
    found = wire.parse_publish(0x32, body, 0, len(body), version=5)
    assert (found.topic, found.payload, found.qos, found.message_id) == (b"t", b"payload", 1, 7)
    body = b"\x00\x01t" + b"\x00" + b"x"
    assert wire.parse_publish(0x30, body, 0, len(body), version=5).payload == b"x"


def test_a_packet_that_is_not_whole_is_not_there_yet() -> None:
    packet = wire.publish("t", b"x" * 200, message_id=1)
    assert all(wire.front(packet[:size], 0) is None for size in range(len(packet)))
    assert wire.front(packet, 0) is not None


def test_the_bits_of_a_publish_are_read() -> None:
    body = bytes.fromhex("0003612f62000a6869")
    for first, retained, redelivered in (
        (0x32, False, False),
        (0x33, True, False),
        (0x3A, False, True),
        (0x3B, True, True),
    ):
        found = wire.parse_publish(first, body, 0, len(body))
        assert (found.retained, found.redelivered, found.cleared) == (retained, redelivered, False)


def test_a_clearing_is_known_again_and_an_empty_press_is_not_taken_for_one() -> None:
    packet = wire.clear(b"guard/7/gps")
    [(first, body)] = wire.PacketReader().feed(packet)
    found = wire.parse_publish(first, body, 0, len(body), version=5)
    assert (found.topic, found.payload, found.qos) == (b"guard/7/gps", b"", 0)
    assert (found.retained, found.cleared) == (True, True)
    # The broker forwards it without the retain bit, and to others with a message id.
    topic = body[: 2 + len(b"guard/7/gps")]
    handed_on = topic + (9).to_bytes(2, "big") + body[len(topic) :]
    assert wire.parse_publish(0x32, handed_on, 0, len(handed_on), version=5).cleared
    pressed = topic + b"\0\x09" + b"\0"
    assert not wire.parse_publish(0x32, pressed, 0, len(pressed), version=5).cleared
    # A payload is a message, whatever its properties are.
    full = handed_on + b"help"
    assert not wire.parse_publish(0x32, full, 0, len(full), version=5).cleared
