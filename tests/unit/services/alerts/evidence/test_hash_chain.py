"""Tests that a chain shows every change: of a field, of the order, of the number of rows."""

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.evidence.hash_chain import (
    GENESIS,
    ChainContent,
    ChainFaultKind,
    ChainHead,
    ChainLink,
    ChainVerifier,
    canonical,
    digest_of,
    verify,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def content(**changes: object) -> ChainContent:
    base = {
        "tenant_id": 1,
        "alert_id": "6f1c9f2e-0000-4000-8000-000000000001",
        "at": NOON,
        "action": "noted",
        "status": "NEW",
        "by": "ann",
        "note": "",
    }
    return ChainContent(**{**base, **changes})  # type: ignore[arg-type]


def chained(contents: list[ChainContent]) -> list[ChainLink]:
    links: list[ChainLink] = []
    for seq, one in enumerate(contents, start=1):
        prev = links[-1].hash if links else GENESIS
        digest = sha256(canonical(seq, one)).digest()
        links.append(ChainLink(seq=seq, prev_hash=prev, hash=sha256(prev + digest).digest(), content=one))
    return links


def of_length(length: int) -> list[ChainLink]:
    return chained(
        [content(note=str(number), at=NOON + timedelta(seconds=number)) for number in range(length)]
    )


def head_of(links: list[ChainLink]) -> ChainHead:
    return ChainHead(links[-1].seq, links[-1].hash)


words = st.text(max_size=20)
contents = st.builds(
    content,
    at=st.datetimes(timezones=st.just(UTC)),
    action=words,
    status=words,
    by=words,
    note=words,
)
chains = st.lists(contents, min_size=2, max_size=8).map(chained)


def test_the_canonical_form_is_fixed() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    at = datetime(2026, 3, 1, 17, 30, tzinfo=india)
    form = canonical(7, content(at=at, note='a"\\\n\x01\x7f/\u2028🆘'))
    assert form.decode() == (
        '[7,1,"6f1c9f2e-0000-4000-8000-000000000001","2026-03-01T12:00:00.000000Z","noted","NEW","ann",'
        '"a\\"\\\\\\n\\u0001\x7f/\u2028🆘"]'
    )
    assert json.loads(form)[-1] == 'a"\\\n\x01\x7f/\u2028🆘'


@given(chains)
def test_an_untouched_chain_has_no_fault_wherever_it_begins(links: list[ChainLink]) -> None:
    assert verify(links, tenant_id=1, head=head_of(links)) == []
    assert verify(links[1:], tenant_id=1, head=head_of(links)) == []


@given(chains, st.data())
def test_any_change_of_any_field_is_found(links: list[ChainLink], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(links) - 1))
    link = links[place]
    assert link.content is not None
    field = data.draw(st.sampled_from([*ChainContent.__struct_fields__, "seq", "prev_hash", "hash"]))
    if field in ChainContent.__struct_fields__:
        before = getattr(link.content, field)
        kinds = {
            "tenant_id": st.integers(0, 2**31 - 1),
            "alert_id": st.uuids().map(str),
            "at": st.datetimes(timezones=st.just(UTC)),
        }
        after = data.draw(kinds.get(field, words).filter(lambda value: value != before))
        changed = msgspec.structs.replace(
            link, content=msgspec.structs.replace(link.content, **{field: after})
        )
    else:
        kind = st.integers(-3, 12) if field == "seq" else st.binary(min_size=32, max_size=32)
        after = data.draw(kind.filter(lambda value: value != getattr(link, field)))
        changed = msgspec.structs.replace(link, **{field: after})
    faults = verify([*links[:place], changed, *links[place + 1 :]], tenant_id=1, head=head_of(links))
    assert faults
    assert min(abs(fault.seq - link.seq) for fault in faults) <= 1 or field == "seq"


@given(chains.filter(lambda links: len(links) > 2), st.data())
def test_what_is_taken_out_of_the_middle_is_missed_at_its_place(
    links: list[ChainLink], data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, len(links) - 2))
    last = data.draw(st.integers(first, len(links) - 2))
    [fault] = verify(links[:first] + links[last + 1 :], tenant_id=1, head=head_of(links))
    assert (fault.seq, fault.wrong) == (first + 1, ChainFaultKind.MISSING)
    assert str(last + 1) in fault.detail


@given(chains, st.data())
def test_any_swap_is_found(links: list[ChainLink], data: st.DataObject) -> None:
    one, other = sorted(data.draw(st.sets(st.integers(0, len(links) - 1), min_size=2, max_size=2)))
    swapped = list(links)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert ChainFaultKind.REORDERED in {
        fault.wrong for fault in verify(swapped, tenant_id=1, head=head_of(links))
    }


@given(chains, st.data())
def test_contents_that_change_places_are_found(links: list[ChainLink], data: st.DataObject) -> None:
    one, other = sorted(data.draw(st.sets(st.integers(0, len(links) - 1), min_size=2, max_size=2)))
    if links[one].content == links[other].content:
        return
    swapped = list(links)
    swapped[one] = msgspec.structs.replace(links[one], content=links[other].content)
    swapped[other] = msgspec.structs.replace(links[other], content=links[one].content)
    found = verify(swapped, tenant_id=1, head=head_of(links))
    assert [(fault.seq, fault.wrong) for fault in found] == [
        (one + 1, ChainFaultKind.ALTERED),
        (other + 1, ChainFaultKind.ALTERED),
    ]


def test_an_edit_whose_hash_is_made_anew_is_found_at_the_next_link() -> None:
    links = of_length(4)
    digest = sha256(canonical(2, content(note="forged"))).digest()
    forged = msgspec.structs.replace(
        links[1], content=content(note="forged"), hash=sha256(links[1].prev_hash + digest).digest()
    )
    [fault] = verify([links[0], forged, *links[2:]], tenant_id=1, head=head_of(links))
    assert (fault.seq, fault.wrong) == (3, ChainFaultKind.ALTERED)


def test_links_without_content_are_followed_by_their_digests_and_bound_to_them() -> None:
    links = of_length(4)
    blind = [
        msgspec.structs.replace(link, content=None, digest=digest_of(link)) if link.seq in (2, 3) else link
        for link in links
    ]
    assert verify(blind, tenant_id=1, head=head_of(links)) == []
    blind[1] = msgspec.structs.replace(blind[1], digest=bytes(32))
    assert [fault.seq for fault in verify(blind, tenant_id=1)] == [2]


def test_a_row_of_another_tenant_is_named_even_when_it_is_sealed() -> None:
    [fault] = verify(chained([content(), content(tenant_id=2)]), tenant_id=1)
    assert (fault.seq, fault.wrong) == (2, ChainFaultKind.FOREIGN)
    assert str(fault) == "seq 2: foreign tenant: it is of tenant 2, not 1"


@pytest.mark.parametrize(
    ("given_links", "head", "wrong"),
    [
        (of_length(3), ChainHead(5, bytes(32)), ChainFaultKind.MISSING),
        (of_length(3), ChainHead(2, bytes(32)), ChainFaultKind.ALTERED),
        (of_length(3), ChainHead(3, bytes(32)), ChainFaultKind.ALTERED),
        ([], ChainHead(2, bytes(32)), ChainFaultKind.MISSING),
    ],
)
def test_the_end_must_be_the_head(
    given_links: list[ChainLink], head: ChainHead, wrong: ChainFaultKind
) -> None:
    assert [fault.wrong for fault in verify(given_links, tenant_id=1, head=head)] == [wrong]


def test_a_verifier_knows_where_a_chain_begins_and_ends_and_misses_a_head_that_is_not_there() -> None:
    verifier = ChainVerifier(tenant_id=1)
    for link in of_length(5)[2:]:
        assert verifier.step(link) == []
    assert verifier.first is not None
    assert verifier.last is not None
    assert (verifier.first.seq, verifier.last.seq, verifier.count) == (3, 5, 3)
    assert [fault.wrong for fault in verifier.end(None)] == [ChainFaultKind.MISSING]
    assert ChainVerifier(tenant_id=1).end(None) == []


def test_the_first_link_begins_with_zeros_and_at_one() -> None:
    [link] = of_length(1)
    digest = digest_of(link)
    other = msgspec.structs.replace(link, prev_hash=b"\1" * 32, hash=sha256(b"\1" * 32 + digest).digest())
    assert [fault.wrong for fault in verify([other], tenant_id=1)] == [ChainFaultKind.ALTERED]
    assert ChainFaultKind.REORDERED in {
        fault.wrong for fault in verify([msgspec.structs.replace(link, seq=0)], tenant_id=1)
    }
