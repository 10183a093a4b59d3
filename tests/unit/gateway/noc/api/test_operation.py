"""Tests of the way from a request to an RPC's arguments: types are kept, and errors name the field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.noc.api.operation import Operation, arguments
from gateway.noc.api.operations.all_operations import OPERATIONS
from services.contracts import api
from services.contracts.errors import Refused


def operation(**changes: Any) -> Operation:
    base = {"method": "POST", "path": "/x/{shift_id}", "service": "s", "rpc": "r", "summary": "", "tag": "t"}
    return Operation(**{**base, **changes})


def test_place_query_and_body_become_arguments_of_their_types() -> None:
    wanted = operation(types={"shift_id": api.Id}, query=api.OfSite, body=api.Enabled)
    found = arguments(wanted, places={"shift_id": "7"}, query={"site_id": "3"}, body=b'{"enabled": true}')
    assert found == {"shift_id": 7, "site_id": 3, "enabled": True}


def test_what_was_not_given_is_left_to_the_service() -> None:
    found = arguments(
        operation(body=api.Noted, body_optional=True), places={"shift_id": "a"}, query={}, body=b""
    )
    assert found == {"shift_id": "a"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "needs a body"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"to": "a", "note": "\\u0000"}', "NUL"),
        (b"[]", "body: Expected `object`"),
        (b"{}", "`to`"),
        (b'{"to": 5}', "$.to"),
        (b'{"to": "x", "by": "y"}', "`by`"),
        (b'{"to": "a\\u0000"}', "NUL"),
    ],
)
def test_a_wrong_body_is_refused_with_the_field(body: bytes, word: str) -> None:
    with pytest.raises(Refused, match="(?s).*") as caught:
        arguments(operation(body=api.Assigned), places={"shift_id": "a"}, query={}, body=body)
    assert word in str(caught.value)


def test_an_unknown_parameter_and_a_wrong_one_are_named() -> None:
    with pytest.raises(Refused, match="statsu"):
        arguments(
            operation(query=api.AlertQuery), places={"shift_id": "a"}, query={"statsu": "open"}, body=b""
        )
    with pytest.raises(Refused, match="shift_id"):
        arguments(operation(types={"shift_id": api.Id}), places={"shift_id": "x"}, query={}, body=b"")


@given(
    st.sampled_from(OPERATIONS),
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3),
        ).map(msgspec.json.encode),
    ),
)
def test_no_request_raises_anything_but_refused(
    wanted: Operation, place: str, query: dict[str, str], body: bytes
) -> None:
    try:
        arguments(wanted, places=dict.fromkeys(wanted.places, place), query=query, body=body)
    except Refused as error:
        assert str(error)


def test_a_number_that_no_message_holds_is_refused() -> None:
    with pytest.raises(Refused, match="64 bits"):
        arguments(
            operation(body=api.RuleChange),
            places={"shift_id": "a"},
            query={},
            body=b'{"change": {"a": [1e0, %d]}}' % 2**70,
        )


@pytest.mark.parametrize(
    "body",
    [
        b'{"note": [' + b"0," * 30_000 + b"0]}",
        b'{"note": ' + b"[" * 30_000,
        b"[" + b"{}," * 20_001 + b"{}]",
        b"," * 20_001,
        b'{"' + b'a": 1, "' * 20_001,
    ],
)
def test_a_body_of_too_many_values_is_refused_before_any_is_made(body: bytes) -> None:
    wanted = operation(body=api.Noted)
    with pytest.raises(Refused, match="at most 20000 values"):
        arguments(wanted, places={"shift_id": "a"}, query={}, body=body)


def test_only_operations_that_say_so_take_more_than_the_usual_body() -> None:
    larger = {operation.id for operation in OPERATIONS if operation.max_body_bytes > 65_536}
    zones = {"add_zone", "change_zone", "check_zone", "import_zones", "try_zones"}
    assert larger == zones | {"set_guard_photo", "set_device_picture"}
    assert all(operation.max_body_bytes <= 4_194_304 for operation in OPERATIONS)
