"""Tests of the bytes of RFC 6455 without a socket.

`tests/e2e/test_rfc6455.py` has the same tests for the running gateway.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.websocket.rfc6455 import (
    ConnectionClosed,
    Framing,
    MessageFragment,
    NotThisVersion,
    PingReceived,
    WebsocketMessage,
    text_frame,
)
from services.contracts.errors import Refused
from tests.support.rfc6455_client import CLOSE, CONT, PING, TEXT, client_frame

HEADERS = [
    ("Host", "vigil"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "vigil.noc.v1, ticket.x"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
]


def opened(max_message_bytes: int = 1000) -> tuple[Framing, bytes]:
    framing = Framing(max_message_bytes=max_message_bytes)
    return framing, framing.shake_hands(HEADERS, "/ws", protocol="vigil.noc.v1")


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    while data:
        size = sizes[len(data) % len(sizes)]
        yield data[:size]
        data = data[size:]


def test_the_handshake_proves_the_key_and_agrees_to_no_extension() -> None:
    _, answer = opened()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # the example of RFC 6455, 1.3
    assert b"vigil.noc.v1" in answer
    assert b"deflate" not in answer
    assert b"ticket" not in answer


@pytest.mark.parametrize("absent", ["Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key"])
def test_what_is_no_handshake_is_refused(absent: str) -> None:
    with pytest.raises(Refused, match="not a websocket handshake"):
        Framing(max_message_bytes=1).shake_hands(
            [header for header in HEADERS if header[0] != absent], "/ws", protocol="vigil.noc.v1"
        )


@pytest.mark.parametrize("version", ["8", "14", "x"])
def test_another_version_of_the_protocol_is_told_ours(version: str) -> None:
    headers = [(name, version if name == "Sec-WebSocket-Version" else value) for name, value in HEADERS]
    with pytest.raises(NotThisVersion, match="use version 13"):
        Framing(max_message_bytes=1).shake_hands(headers, "/ws", protocol="vigil.noc.v1")


@given(
    st.lists(st.text(max_size=200), max_size=5),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.lists(st.integers(1, 30), min_size=1, max_size=3),
)
def test_messages_arrive_whole_however_they_are_chopped_and_fragmented(
    texts: list[str], chops: list[int], fragments: list[int]
) -> None:
    wire = b""
    for text in texts:
        parts = list(pieces(text.encode(), fragments)) or [b""]
        for at, part in enumerate(parts):
            wire += client_frame(TEXT if at == 0 else CONT, part, fin=at == len(parts) - 1)
            wire += client_frame(PING, b"between")
    framing, _ = opened(max_message_bytes=10_000)
    received = [event for chop in pieces(wire, chops) for event in framing.receive(chop)]
    assert [event.text for event in received if isinstance(event, WebsocketMessage)] == texts
    pongs = [event.pong for event in received if isinstance(event, PingReceived)]
    assert set(pongs) <= {b"\x8a\x07between"}


def test_a_message_is_bounded_while_it_grows_over_all_its_fragments() -> None:
    framing, _ = opened(max_message_bytes=10)
    assert list(framing.receive(client_frame(TEXT, b"x" * 5, fin=False))) == [MessageFragment()]
    assert list(framing.receive(client_frame(CONT, b"x" * 5, fin=False))) == [MessageFragment()]
    [closed] = framing.receive(client_frame(CONT, b"x", fin=False))
    assert isinstance(closed, ConnectionClosed)
    assert closed.code == 1009


@pytest.mark.parametrize(
    ("fragment", "fine", "wrong"),
    [
        (b"", 16, 17),
        (b"x", 1024, 1025),
        # not text at all: the next byte refuses a code point that never ends
        ("é".encode()[:1], 0, 1),
    ],
)
def test_fragments_are_bounded_in_number_and_empty_ones_sooner(
    fragment: bytes, fine: int, wrong: int
) -> None:
    framing, _ = opened(max_message_bytes=10_000)
    begin = client_frame(TEXT, fragment, fin=False)
    received = list(framing.receive(begin + client_frame(CONT, fragment, fin=False) * (wrong - 1 or 1)))
    assert [event for event in received if event == MessageFragment()] == [MessageFragment()] * max(fine, 1)
    assert isinstance(received[-1], ConnectionClosed)
    assert received[-1].code in (4429, 1007)


def test_empty_fragments_among_others_are_fine() -> None:
    framing, _ = opened()
    wire = client_frame(TEXT, b"", fin=False) + client_frame(CONT, b"", fin=False) * 15
    wire += (
        client_frame(CONT, b"x", fin=False)
        + client_frame(CONT, b"", fin=False) * 16
        + client_frame(CONT, b"y")
    )
    assert list(framing.receive(wire))[-1] == WebsocketMessage("xy")


def test_the_fragments_of_one_message_do_not_count_for_the_next() -> None:
    framing, _ = opened(max_message_bytes=10_000)
    one = (
        client_frame(TEXT, b"x", fin=False)
        + client_frame(CONT, b"x", fin=False) * 999
        + client_frame(CONT, b"x")
    )
    received = list(framing.receive(one * 3))
    assert [event for event in received if isinstance(event, WebsocketMessage)] == [
        WebsocketMessage("x" * 1001)
    ] * 3


def test_a_frame_in_pieces_is_one_fragment() -> None:
    framing, _ = opened()
    wire = client_frame(TEXT, b"x" * 200, fin=False)
    assert [event for byte in wire for event in framing.receive(bytes([byte]))] == [MessageFragment()]


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1))
def test_noise_is_answered_and_never_raises(noise: bytes, chops: list[int]) -> None:
    framing, _ = opened()
    for chop in pieces(noise, chops):
        for event in framing.receive(chop):
            if isinstance(event, ConnectionClosed):
                assert framing.close(event.code, event.reason)[0] == 0x80 | CLOSE
                return


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_to_clients_have_the_shortest_header_for_their_length(size: int) -> None:
    header = {0: b"\x81\x00", 125: b"\x81\x7d", 126: b"\x81\x7e\x00\x7e", 65_535: b"\x81\x7e\xff\xff"}
    assert (
        text_frame(b"x" * size) == header.get(size, b"\x81\x7f" + (65_536).to_bytes(8, "big")) + b"x" * size
    )
