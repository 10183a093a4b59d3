import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.decoding import payload_text
from services.contracts.errors import InvalidMessage

MIB = 1_048_576
WORST_S = 0.05


def read(payload: bytes) -> tuple[bytes, str]:
    return payload_text.read(payload, max_bytes=MIB, max_depth=32)


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0\0", b"\r\n", b" \t", b"\n\0", b"\0\r\n"])
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"])
def test_what_a_c_string_or_a_line_ends_with_is_cut_off(tail: bytes, head: bytes) -> None:
    assert read(head + b'{"a":1}' + tail) == (b'{"a":1}', '{"a":1}')


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "invalid_utf8"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_utf8"),
        (b'{"a":"\0b"}', "contains_nul"),
        (b'{"a":"\\u0000"}', "contains_nul"),
        (b'{"a":"\\\\\\u0000"}', "contains_nul"),
        (b"[" * 33 + b"]" * 33, "too_deep"),
        (b'{"a":' * 33, "too_deep"),
        (b"x" * (MIB + 1), "too_large"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_stored_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        read(payload)
    assert refused.value.reason == reason


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert read(b'{"a":"\\\\u0000"}')[1] == '{"a":"\\\\u0000"}'


def deepest(text: str) -> int:
    """Return the depth of a JSON text, character by character."""
    depth, most, inside, escaped = 0, 0, False, False
    for sign in text:
        if inside:
            inside = sign != '"' or escaped
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            inside = True
        elif sign in "[{":
            depth += 1
            most = max(most, depth)
        elif sign in "]}":
            depth -= 1
    return most


nested = st.recursive(
    st.sampled_from(['"a"', "1", '"[\\"{"', '"\\\\"', "[]", "{}", '"\\\\\\"]"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]")
        | inner.map(lambda part: '{"k[":' + part + "}")
    ),
    max_leaves=30,
)


@given(nested, st.integers(1, 12))
def test_the_depth_is_that_of_a_reading_sign_by_sign(text: str, limit: int) -> None:
    assert payload_text.deeper_than(payload_text.marks_of(text.encode()), limit) == (deepest(text) > limit)


WORST = {
    "an unterminated string of escapes": b'"' + b'\\"' * (MIB // 2 - 25) + b"[" * 40,
    "quotes": b'"' * (MIB - 40) + b"[" * 40,
    "short strings": b'["",' * 40 + b'"",' * (MIB // 3 - 60),
    "empty pairs": b"[" + b"[]" * (MIB // 2 - 1),
    "empty pairs with commas": b"[" + b"[],{}," * (MIB // 6 - 1) + b"[]]",
    "pairs 5 deep": (b"[" * 5 + b"]" * 5) * (MIB // 10),
    "pairs 9 deep": (b"[" * 9 + b"]" * 9) * (MIB // 18),
    "pairs 32 deep": (b"[" * 32 + b"]" * 32) * (MIB // 64),
    "stairs": b"".join(b"[" * n + b"]" * n for n in range(1, 33)) * (MIB // 1056),
    "opening": b"[" * MIB,
    "closing": b"]" * MIB,
    "backslashes": b'"' + b"\\" * (MIB - 2),
    "escaped nuls that are none": b'"' + b"\\\\u0000" * (MIB // 7 - 2) + b'"',
    "backslashes before a nul": b'"' + b"\\" * (MIB - 10) + b'\\u0000"',
    "nuls": b"\0" * MIB,
    "nuls in text": b'"' + b"\0" * (MIB - 2) + b'"',
    "digits": b"1" * MIB,
    "blanks": b" " * MIB,
}


@pytest.mark.parametrize("name", WORST)
def test_a_mebibyte_of_the_worst_is_looked_through_in_time(name: str) -> None:
    payload = WORST[name]
    assert len(payload) <= MIB
    best_s = float("inf")
    # The processor's time counts, and the best of several: other work runs on this machine too.
    for _ in range(5):
        started_s = time.process_time()
        try:
            read(payload)
        except InvalidMessage as error:
            assert error.reason
        best_s = min(best_s, time.process_time() - started_s)
    assert best_s <= WORST_S
