"""Tests of RFC 6455 on the running gateway.

They ask what the Autobahn testsuite asks in its cases 1-7, 9 and 10. The gateway echoes nothing: a
message that is not one of its frames gets an `error` frame. The `ref` or the answer shows that the
message arrived whole.
"""

import json
from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.outside_clients import OutsideClients
from tests.support.rfc6455_client import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    WebsocketPeer,
    client_frame,
    close_frame,
)

LIMIT = 16_384
MULTIBYTE = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 日本 😀"
turns = count()


@pytest.fixture
def peer(outside: OutsideClients) -> Iterator[WebsocketPeer]:
    """Yield a peer with a user of its own: messages are limited by user."""
    made = WebsocketPeer(outside.base, outside.token(name=f"rfc-{outside.run}-{next(turns)}"))
    made.wait("snapshot")
    yield made
    made.close()


def message(size: int, ref: object = 1) -> bytes:
    """Return JSON of exactly `size` bytes, which the gateway answers with its `ref`."""
    head = json.dumps({"type": "dance", "ref": ref, "note": ""})[:-2]
    return (head + "x" * (size - len(head) - 2) + '"}').encode()


def answered(peer: WebsocketPeer, ref: object = 1) -> None:
    assert peer.wait("error")["ref"] == ref


def alive(peer: WebsocketPeer) -> None:
    peer.send(client_frame(PING, b"alive?"))
    assert peer.pong() == b"alive?"


def test_another_version_is_answered_by_ours(outside: OutsideClients) -> None:
    peer = WebsocketPeer(outside.base, outside.token(), version="8")
    assert peer.head.startswith("HTTP/1.1 426 ")
    assert "sec-websocket-version: 13" in peer.head.lower()
    peer.sock.close()


# -- 1: framing


@pytest.mark.parametrize("size", [60, 125, 126, 127, 128, 1000, LIMIT])
@pytest.mark.parametrize("chop", [None, 997])
def test_text_of_any_length_within_the_limit_arrives(
    peer: WebsocketPeer, size: int, chop: int | None
) -> None:
    peer.send(client_frame(TEXT, message(size)), chop=chop)
    answered(peer)


def test_text_byte_by_byte_arrives(peer: WebsocketPeer) -> None:
    peer.send(client_frame(TEXT, message(200)), chop=1)
    answered(peer)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128])
def test_what_is_no_frame_of_ours_is_answered_and_the_connection_goes_on(
    peer: WebsocketPeer, opcode: int, size: int
) -> None:
    peer.send(client_frame(opcode, b"*" * size))
    error = peer.wait("error")
    assert ("binary" in error["message"]) == (opcode == BINARY)
    alive(peer)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [LIMIT + 1, 65_535, 65_536, 1_000_000])
def test_what_is_larger_than_the_limit_is_closed_with_1009(
    peer: WebsocketPeer, opcode: int, size: int
) -> None:
    peer.send(client_frame(opcode, b"*" * size))
    assert peer.closed_with()[0] == 1009


@pytest.mark.parametrize("answers", [True, False])
def test_a_client_must_mask(peer: WebsocketPeer, answers: bool) -> None:
    peer.send(client_frame(TEXT, b"{}", mask=None))
    assert peer.closed_with(answers=answers)[0] == 1002


@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
def test_any_mask_will_do(peer: WebsocketPeer, mask: bytes) -> None:
    peer.send(client_frame(TEXT, message(130), mask=mask))
    answered(peer)


@pytest.mark.parametrize(
    "header",
    [
        b"\x81\xfe\x00\x05",  # two bytes of length where one would do
        b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x05",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x05",  # the most significant bit
    ],
)
def test_a_length_that_is_not_the_shortest_breaks_the_protocol(peer: WebsocketPeer, header: bytes) -> None:
    peer.send(header + b"\x00\x00\x00\x00hello")
    assert peer.closed_with()[0] == 1002


# -- 2: pings and pongs


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125])
@pytest.mark.parametrize("chop", [None, 1])
def test_a_ping_comes_back_with_its_payload(peer: WebsocketPeer, payload: bytes, chop: int | None) -> None:
    peer.send(client_frame(PING, payload), chop=chop)
    assert peer.pong() == payload


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_of_more_than_125_bytes_is_refused(peer: WebsocketPeer, opcode: int) -> None:
    peer.send(client_frame(opcode, b"\x03\xe8" + b"x" * 124))
    assert peer.closed_with()[0] == 1002


def test_pongs_that_nobody_asked_for_are_ignored(peer: WebsocketPeer) -> None:
    peer.send(client_frame(PONG) + client_frame(PONG, b"unsolicited") + client_frame(PING, b"after"))
    assert peer.pong() == b"after"


@pytest.mark.parametrize("chop", [None, 1])
def test_ten_pings_at_once_come_back_in_order(peer: WebsocketPeer, chop: int | None) -> None:
    payloads = [f"payload-{number}".encode() for number in range(10)]
    peer.send(b"".join(client_frame(PING, payload) for payload in payloads), chop=chop)
    assert [peer.pong() for _ in payloads] == payloads


# -- 3 and 4: reserved bits and opcodes


@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_reserved_bits_break_the_protocol(peer: WebsocketPeer, reserved: int, opcode: int) -> None:
    peer.send(client_frame(PING, b"before") + client_frame(opcode, reserved=reserved))
    assert peer.pong() == b"before"
    assert peer.closed_with()[0] == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"reserved opcode"])
def test_reserved_opcodes_break_the_protocol(peer: WebsocketPeer, opcode: int, payload: bytes) -> None:
    peer.send(client_frame(TEXT, message(80)) + client_frame(opcode, payload) + client_frame(PING))
    answered(peer)
    assert peer.closed_with()[0] == 1002


# -- 5: fragmentation


@pytest.mark.parametrize("chop", [None, 1])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_fragmented_message_arrives_whole_with_control_frames_between(
    peer: WebsocketPeer, chop: int | None, size: int
) -> None:
    whole, wire = message(120), b""
    for at in range(0, len(whole), size):
        last = at + size >= len(whole)
        wire += client_frame(TEXT if at == 0 else CONT, whole[at : at + size], fin=last)
        wire += client_frame(PING, b"") if at == 0 else b""
    peer.send(wire, chop=chop)
    assert peer.pong() == b""
    answered(peer)


def test_empty_fragments_are_fragments(peer: WebsocketPeer) -> None:
    peer.send(client_frame(TEXT, b"", fin=False) + client_frame(CONT, message(80), fin=False))
    peer.send(client_frame(CONT, b"", fin=True))
    answered(peer)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_must_not_be_fragmented(peer: WebsocketPeer, opcode: int) -> None:
    peer.send(client_frame(opcode, b"", fin=False) + client_frame(CONT, b"", fin=True))
    assert peer.closed_with()[0] == 1002


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_continuation_without_a_start_breaks_the_protocol(
    peer: WebsocketPeer, fin: bool, opcode: int
) -> None:
    peer.send(client_frame(CONT, b"non-continuation", fin=fin) + client_frame(opcode, b"Hello"))
    assert peer.closed_with()[0] == 1002


def test_a_continuation_after_a_whole_message_breaks_the_protocol(peer: WebsocketPeer) -> None:
    peer.send(client_frame(TEXT, message(80)) + client_frame(CONT, b"more"))
    answered(peer)
    assert peer.closed_with()[0] == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_must_not_begin_within_another(peer: WebsocketPeer, opcode: int) -> None:
    peer.send(client_frame(TEXT, b"one", fin=False) + client_frame(opcode, b"two"))
    assert peer.closed_with()[0] == 1002


# -- 6: UTF-8


@pytest.mark.parametrize("chop", [None, 1])
def test_utf_8_may_be_split_within_a_code_point(peer: WebsocketPeer, chop: int | None) -> None:
    ref = MULTIBYTE
    whole = json.dumps({"type": "dance", "ref": ref}, ensure_ascii=False).encode()
    parts = [client_frame(CONT, whole[at : at + 1], fin=at == len(whole) - 1) for at in range(1, len(whole))]
    peer.send(client_frame(TEXT, whole[:1], fin=False) + b"".join(parts), chop=chop)
    answered(peer, ref)


@pytest.mark.parametrize(
    "code_point", ["\x00", "\x7f", "\x80", "߿", "ࠀ", "￿", "\ufffe", "𐀀", "\U0010ffff", "�"]
)
def test_any_code_point_is_text(peer: WebsocketPeer, code_point: str) -> None:
    peer.send(client_frame(TEXT, code_point.encode()))
    assert "not a frame" in peer.wait("error")["message"]
    alive(peer)


@pytest.mark.parametrize(
    "broken",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",  # overlong
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x88\x80\x80\x80",  # five bytes
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf4\x90\x80\x80",  # beyond U+10FFFF
        b"\xed\xbf\xbf",
        b"\xfe",
        b"\xff",
        b"\xc3",  # cut off
        b"\xe2\x82",
        b"\xf0\x9f\x98",
    ],
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_what_is_no_utf_8_is_closed_with_1007(peer: WebsocketPeer, broken: bytes, fragmented: bool) -> None:
    if fragmented:
        parts = [client_frame(CONT, bytes([byte]), fin=False) for byte in broken]
        wire = client_frame(TEXT, b"", fin=False) + b"".join(parts) + client_frame(CONT, b"")
    else:
        wire = client_frame(TEXT, broken)
    peer.send(wire)
    assert peer.closed_with()[0] == 1007


@pytest.mark.parametrize("whole_frame", [True, False])
def test_broken_utf_8_is_closed_before_the_message_is_whole(peer: WebsocketPeer, whole_frame: bool) -> None:
    start = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
    if whole_frame:
        peer.send(client_frame(TEXT, start, fin=False) + client_frame(CONT, b"\xf4\x90", fin=False))
    else:
        peer.send(client_frame(TEXT, start + b"\xf4\x90\x80\x80" + b"x" * 100)[: 6 + len(start) + 2])
    assert peer.closed_with()[0] == 1007


def test_binary_need_not_be_utf_8(peer: WebsocketPeer) -> None:
    peer.send(client_frame(BINARY, b"\xff\xfe\x80"))
    assert "binary" in peer.wait("error")["message"]
    alive(peer)


# -- 7: closing


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
)
def test_a_close_is_answered_with_its_code(peer: WebsocketPeer, code: int) -> None:
    peer.send(close_frame(code, "bye, κόσμε".encode()))
    assert peer.closed_with() == (code, "bye, κόσμε".encode())


def test_a_close_without_code_is_answered(peer: WebsocketPeer) -> None:
    peer.send(client_frame(CLOSE))
    assert peer.closed_with()[0] == 1000


def test_a_close_with_the_longest_reason_is_answered(peer: WebsocketPeer) -> None:
    peer.send(close_frame(1000, b"*" * 123))
    assert peer.closed_with()[0] == 1000


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 65_535])
def test_a_close_with_a_code_that_may_not_be_sent_breaks_the_protocol(peer: WebsocketPeer, code: int) -> None:
    peer.send(close_frame(code))
    assert peer.closed_with()[0] == 1002


def test_a_close_of_one_byte_breaks_the_protocol(peer: WebsocketPeer) -> None:
    peer.send(client_frame(CLOSE, b"a"))
    assert peer.closed_with()[0] == 1002


def test_a_close_whose_reason_is_no_utf_8_is_closed_with_1007(peer: WebsocketPeer) -> None:
    peer.send(close_frame(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"))
    assert peer.closed_with()[0] == 1007


@pytest.mark.parametrize(
    "after", [close_frame(1000), client_frame(PING, b"x"), client_frame(TEXT, message(80)), b"\xff" * 50_000]
)
def test_nothing_after_a_close_is_looked_at(peer: WebsocketPeer, after: bytes) -> None:
    peer.send(close_frame(1000) + after)
    assert peer.closed_with()[0] == 1000


def test_what_was_asked_before_a_close_is_answered_before_it(peer: WebsocketPeer) -> None:
    peer.send(client_frame(TEXT, message(80, ref=7)) + client_frame(PING, b"last") + close_frame(1000))
    # The pong may come first: a peer that waits for a service is not dead.
    came: list[object] = []
    while (frame := peer.frame()) is not None and frame.opcode != CLOSE:
        if frame.opcode == PONG:
            came.append(frame.payload)
        elif frame.opcode == TEXT and frame.json["type"] == "error":
            came.append(frame.json["ref"])
    assert came in ([7, b"last"], [b"last", 7])
    assert frame is not None
    assert frame.payload[:2] == (1000).to_bytes(2)


def test_a_close_within_a_fragmented_message_is_a_close(peer: WebsocketPeer) -> None:
    peer.send(client_frame(TEXT, b"one", fin=False) + close_frame(1000) + client_frame(CONT, b"two"))
    assert peer.closed_with()[0] == 1000


# -- 9 and 10: big messages, many fragments


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [64, 1300, 4096])
def test_a_big_message_in_any_fragments_arrives(peer: WebsocketPeer, opcode: int, size: int) -> None:
    whole = message(LIMIT)
    frames = [
        client_frame(opcode if at == 0 else CONT, whole[at : at + size], fin=at + size >= len(whole))
        for at in range(0, len(whole), size)
    ]
    peer.send(b"".join(frames))
    if opcode == TEXT:
        answered(peer)
    else:
        assert "binary" in peer.wait("error")["message"]


def test_fragments_that_together_are_larger_than_the_limit_are_closed_with_1009(peer: WebsocketPeer) -> None:
    frames = [client_frame(TEXT if at == 0 else CONT, b"x" * 1300, fin=False) for at in range(13)]
    peer.send(b"".join(frames))
    assert peer.closed_with()[0] == 1009


def test_a_message_of_a_few_empty_fragments_ends_with_its_end_and_an_endless_one_is_closed(
    peer: WebsocketPeer,
) -> None:
    few = client_frame(TEXT, b"", fin=False) + client_frame(CONT, b"", fin=False) * 15
    peer.send(few)
    alive(peer)
    peer.send(client_frame(CONT, message(80)))
    answered(peer)
    peer.send(few + client_frame(CONT, b"", fin=False) * 1000)
    assert peer.closed_with()[0] == 4429


# -- the opening handshake


def test_no_extension_is_agreed_to(outside: OutsideClients) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    opened = WebsocketPeer(outside.base, outside.token(), headers=(offer,))
    assert opened.head.startswith("HTTP/1.1 101 ")
    assert "sec-websocket-extensions" not in opened.head.lower()
    assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in opened.head  # of the key of RFC 6455, 1.3
    opened.close()
