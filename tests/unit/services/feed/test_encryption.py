import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import InvalidMessage, Misconfigured
from services.feed import encryption
from services.feed.encryption import Sealer

OLD, NEW = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def seal(comma_list: str = NEW, tenant_id: int = 1, frame_id: int = 5, data: object = None) -> bytes:
    newest = encryption.master_keys(comma_list)[0]
    return Sealer(lambda: newest).seal(
        tenant_id, type="positions", id=frame_id, data=data, now_s=1_700_000_000
    )


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_what_is_sealed_can_be_opened(data: dict[str, object]) -> None:
    body = encryption.open_frame(
        seal(data=data), keys=encryption.tenant_keys(NEW, 1), tenant_id=1, after_id=4
    )
    assert body.data == data


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_any_flipped_bit_is_refused(position: int, bit: int) -> None:
    frame = bytearray(seal(data={"x": 1}))
    frame[position % len(frame)] ^= 1 << bit
    if json_or_none(bytes(frame)) == json_or_none(seal(data={"x": 1})):
        return
    with pytest.raises(InvalidMessage):
        encryption.open_frame(bytes(frame), keys=encryption.tenant_keys(NEW, 1), tenant_id=1)


def test_spare_bits_of_base64_are_no_place_for_changes() -> None:
    frame = seal(data={"x": 1})
    last = frame.rindex(b"=") - 1
    while frame[last : last + 1] == b"=":
        last -= 1
    for bit in range(8):
        changed = frame[:last] + bytes([frame[last] ^ 1 << bit]) + frame[last + 1 :]
        with pytest.raises(InvalidMessage):
            encryption.open_frame(changed, keys=encryption.tenant_keys(NEW, 1), tenant_id=1)


def json_or_none(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def test_a_frame_of_another_tenant_a_replay_and_a_swapped_label_are_refused() -> None:
    keys = encryption.tenant_keys(NEW, 1)
    with pytest.raises(InvalidMessage, match="unknown_key"):
        encryption.open_frame(seal(tenant_id=2), keys=keys, tenant_id=1)
    with pytest.raises(InvalidMessage, match="not_authentic"):
        encryption.open_frame(seal(tenant_id=1), keys=keys, tenant_id=2)
    with pytest.raises(InvalidMessage, match="replayed"):
        encryption.open_frame(seal(frame_id=5), keys=keys, tenant_id=1, after_id=5)
    with pytest.raises(InvalidMessage, match="not_authentic"):
        encryption.open_frame(seal().replace(b'"id":5', b'"id":6'), keys=keys, tenant_id=1)


def test_the_old_key_opens_old_frames_after_a_rotation() -> None:
    rotated = encryption.tenant_keys(f"{NEW},{OLD}", 1)
    assert encryption.open_frame(seal(OLD), keys=rotated, tenant_id=1).id == 5
    assert json.loads(seal(f"{NEW},{OLD}"))["kid"] == next(iter(rotated))


@pytest.mark.parametrize("bad", ["short", "!" * 44, f"{NEW},x", base64.urlsafe_b64encode(b"1" * 31).decode()])
def test_a_bad_key_names_the_variable_and_the_remedy(bad: str) -> None:
    with pytest.raises(Misconfigured, match=r"CHANNELS_ENCRYPTION_KEY.*vigil keys generate"):
        encryption.master_keys(bad)
