"""Evidence pack of an alert: a JSON document that a third party can check by itself. Pure.

The check needs no server of Vigil. A pack holds the records of its time, in sections. `sections`
has the SHA-256 of each section. `signature` is Ed25519 over the whole document. The bytes that are
hashed and signed are UTF-8 of

    json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

`value` is the section, and for the signature the whole document without `signature.value`.

The tenant's chain (`services.alerts.evidence.hash_chain`) proves the rows of the timeline too. It
goes from this alert's first row to the head at that time. Rows of other alerts are in it by their
digests alone. `place.people_at_raise` has the guard, site and device as they were on record when
the alert was raised; null for an alert from before such snapshots were kept. Times are UTC, hashes
hexadecimal, bytes base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.alerts.evidence import hash_chain
from services.alerts.evidence.hash_chain import ChainContent, ChainHead, ChainLink, time_text
from services.contracts.errors import Refused

FORMAT = "vigil-evidence/1"
SECTIONS = (
    "format",
    "made_at",
    "made_by",
    "tenant",
    "alert",
    "place",
    "occurrences",
    "timeline",
    "chain",
    "notifications",
    "track",
)
BEFORE = AFTER = timedelta(minutes=15)
LONGEST = timedelta(hours=24)
MAX_FIXES = 20_000
MAX_LINKS = 100_000

Pack = dict[str, Any]
Row = Mapping[str, Any]


class TrackWindow(msgspec.Struct, frozen=True):
    """Time that the track covers. `cut_short` says that the alert went on for longer."""

    since: datetime
    until: datetime
    cut_short: bool


class PackRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that a pack is made of, as the database gave them in one snapshot."""

    tenant: Row
    alert: Row
    site: Row | None
    zones: Sequence[Row]
    people: Row | None
    occurrences: Sequence[Row]
    timeline: Sequence[Row]
    links: Sequence[Row]
    links_cut: bool
    head: ChainHead | None
    notifications: Sequence[Row]
    guard: Row | None
    window: TrackWindow
    fixes: Sequence[Row]
    fixes_in_window: int


class CheckState(StrEnum):
    OK = "ok"
    FAILED = "FAILED"
    UNKNOWN = "unknown"


class PackCheck(msgspec.Struct, frozen=True):
    """Result of one check, with a text for users."""

    name: str
    state: CheckState
    detail: str = ""


def window_of(alert: Row, *, now: datetime) -> TrackWindow:
    """Return the window from 15 minutes before the alert to 15 minutes after its end.

    It is at most 24 hours long. It ends at `now` at the latest.
    """
    since = min(alert["recorded_at"], alert["received_at"]) - BEFORE
    wanted = min((alert["closed_at"] or now) + AFTER, max(now, since))
    until = min(wanted, since + LONGEST)
    return TrackWindow(since, until, cut_short=until < wanted)


def build(gathered: PackRows, *, made_by: str, now: datetime) -> Pack:
    """Return the document without its signature."""
    window = gathered.window
    timeline = [_with_hashes(row) for row in gathered.timeline]
    links = [_with_hashes(row) for row in gathered.links]
    places = [row["seq"] for row in (*timeline, *links) if row["seq"] is not None]
    head = gathered.head
    pack: Pack = {
        "format": FORMAT,
        "made_at": time_text(now),
        "made_by": made_by,
        "tenant": gathered.tenant,
        "alert": gathered.alert,
        "place": {"site": gathered.site, "zones": gathered.zones, "people_at_raise": gathered.people},
        "occurrences": gathered.occurrences,
        "timeline": timeline,
        "chain": {
            "first_seq": min(places, default=0),
            "last_seq": max(places, default=0),
            "head": None if head is None else {"seq": head.seq, "hash": head.hash.hex()},
            "cut_short": gathered.links_cut,
            "links": links,
        },
        "notifications": gathered.notifications,
        "track": {
            "guard": gathered.guard,
            "since": window.since,
            "until": window.until,
            "cut_short": window.cut_short,
            "fixes_in_window": gathered.fixes_in_window,
            "thinned": len(gathered.fixes) < gathered.fixes_in_window,
            "fixes": gathered.fixes,
        },
    }

    plain: Pack = as_json(pack)
    plain["sections"] = {name: digest_of(plain[name]) for name in SECTIONS}
    return plain


def sign(pack: Pack, key: Ed25519PrivateKey) -> Pack:
    """Return the document with its signature."""
    public = public_bytes(key.public_key())
    signature = {
        "algorithm": "Ed25519",
        "public_key": base64.b64encode(public).decode(),
        "fingerprint": fingerprint(public),
    }
    value = key.sign(json_bytes({**pack, "signature": signature}))
    return {**pack, "signature": {**signature, "value": base64.b64encode(value).decode()}}


def public_bytes(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(public: bytes) -> str:
    """Return the SHA-256 of the 32 bytes of a public key. The company publishes it beforehand."""
    return sha256(public).hexdigest()


def as_json(value: Any) -> Any:
    """Return a value of the database in JSON types. No number is rounded."""
    if isinstance(value, datetime):
        return time_text(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, Mapping):
        return {str(name): as_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in value]
    if value is None or isinstance(value, bool | int | float):
        return value

    return value.isoformat() if isinstance(value, date) else str(value)


def json_bytes(value: Any) -> bytes:
    """Return the bytes that are hashed and signed."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def file_bytes(pack: Pack) -> bytes:
    """Return the bytes of the file: the same document with line breaks, for readers and `diff`."""
    return (json.dumps(pack, ensure_ascii=False, indent=1) + "\n").encode()


def digest_of(value: Any) -> str:
    return sha256(json_bytes(value)).hexdigest()


def parse(data: bytes) -> Pack:
    """Return a pack from a file's bytes.

    Raises:
        Refused: the file is no pack, or can be read in two ways.
    """
    try:
        pack = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Refused(
            "this is not an evidence pack: it is not in UTF-8; take the file as it was exported"
        ) from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"this is not an evidence pack: {error}") from error

    if not isinstance(pack, dict) or not isinstance(pack.get("format"), str):
        raise Refused("this is not an evidence pack: it has no format")

    return pack


def check(pack: Pack, *, expected: str | None = None, own: str | None = None) -> list[PackCheck]:
    """Return the results of all checks that need nothing but the pack.

    Args:
        expected: the fingerprint that the pack's key must have.
        own: the fingerprint of this installation's key, for when `expected` is None.
    """
    checks = [
        *_check_sections(pack),
        _guarded("signature", _check_signature, pack),
        _guarded("timeline", _check_timeline, pack),
        _guarded("chain", _check_chain, pack),
        _guarded("key", lambda given: _check_key(given, expected, own), pack),
    ]

    if pack.get("format") != FORMAT:
        checks.insert(0, PackCheck("format", CheckState.FAILED, f"it is not {FORMAT}"))

    return checks


def anchors(pack: Pack, *, tenant_id: int) -> dict[int, str]:
    """Return the hashes by seq that the tenant's record must have, if the pack comes from it.

    Raises:
        Refused: the pack fails a check, or is of another tenant.
    """
    failed = [check for check in check(pack) if check.state is CheckState.FAILED]
    if failed:
        raise Refused(f"the evidence file itself fails: {failed[0].name}: {failed[0].detail}")
    if pack["tenant"]["tenant_id"] != tenant_id:
        raise Refused(f"the evidence file is of tenant {pack['tenant']['tenant_id']}, not {tenant_id}")
    rows = [*pack["timeline"], pack["chain"]["head"]]
    return {row["seq"]: row["hash"] for row in rows}


def _with_hashes(row: Row) -> dict[str, Any]:
    """Return a row with its hashes in hexadecimal, as other tools print them."""
    hashes = ("prev_hash", "hash", "digest")
    return {
        name: bytes(value).hex() if name in hashes and value is not None else value
        for name, value in row.items()
    }


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of these pairs. Raises `ValueError` for a name that is there twice.

    Two readers can read such an object in two ways.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _guarded(name: str, of: Callable[[Pack], PackCheck], pack: Pack) -> PackCheck:
    """Run a check.

    A check that cannot read the pack has failed: a stranger's pack may hold anything.
    """
    try:
        return of(pack)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        return PackCheck(name, CheckState.FAILED, f"it cannot be read: {type(error).__name__}: {error}")


def _check_sections(pack: Pack) -> Iterable[PackCheck]:
    given = pack.get("sections")
    noted: dict[str, Any] = given if isinstance(given, dict) else {}
    for name in dict.fromkeys((*SECTIONS, *(n for n in pack if n not in ("sections", "signature")), *noted)):
        if name not in SECTIONS:
            yield PackCheck(f"section {name}", CheckState.FAILED, f"{FORMAT} has no such section")
        elif name not in pack:
            yield PackCheck(f"section {name}", CheckState.FAILED, "it is not there")
        elif digest_of(pack[name]) != noted.get(name):
            yield PackCheck(
                f"section {name}", CheckState.FAILED, "it is not what it was when the pack was made"
            )
        else:
            yield PackCheck(f"section {name}", CheckState.OK)


def _check_signature(pack: Pack) -> PackCheck:
    signature = pack["signature"]
    signed = {**pack, "signature": {name: part for name, part in signature.items() if name != "value"}}

    public = base64.b64decode(signature["public_key"], validate=True)
    if signature["algorithm"] != "Ed25519" or signature["fingerprint"] != fingerprint(public):
        return PackCheck(
            "signature", CheckState.FAILED, "its algorithm or fingerprint is not that of its key"
        )

    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(base64.b64decode(signature["value"], validate=True), json_bytes(signed))
    except InvalidSignature:
        return PackCheck("signature", CheckState.FAILED, "the document is not what was signed")

    return PackCheck("signature", CheckState.OK, f"Ed25519 by key {signature['fingerprint']}")


def _check_timeline(pack: Pack) -> PackCheck:
    """Check that each row is of this alert and has its place in the chain."""
    alert = pack["alert"]
    for row in pack["timeline"]:
        if (row["alert_id"], row["tenant_id"]) != (alert["alert_id"], alert["tenant_id"]):
            return PackCheck("timeline", CheckState.FAILED, f"seq {row['seq']} is of another alert")
        if row["seq"] is None:
            return PackCheck(
                "timeline", CheckState.FAILED, f"the row of {row['at']} has no place in the chain"
            )
    return PackCheck("timeline", CheckState.OK, f"{len(pack['timeline'])} rows, all of this alert")


def _check_chain(pack: Pack) -> PackCheck:
    noted = pack["chain"]
    own = [link_of_row(row) for row in pack["timeline"]]
    links = sorted([*own, *map(_blind, noted["links"])], key=lambda link: link.seq)
    head = (
        None
        if noted["head"] is None
        else ChainHead(noted["head"]["seq"], bytes.fromhex(noted["head"]["hash"]))
    )

    cut = noted["cut_short"] is True
    faults = hash_chain.verify(links, tenant_id=pack["alert"]["tenant_id"], head=None if cut else head)

    if not links or links[0] is not min(own, key=lambda link: link.seq, default=None):
        return PackCheck("chain", CheckState.FAILED, "it does not begin with this alert's first row")
    if head is None:
        return PackCheck("chain", CheckState.FAILED, "it has no head")
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return PackCheck("chain", CheckState.FAILED, f"{faults[0]}{more}")

    erased = sum(link.erased for link in links)
    words = f"seq {links[0].seq} to {links[-1].seq}, every link holds"
    words += f"; {erased} of them of alerts that were erased" if erased else ""
    words += f"; the head was at seq {head.seq}, further than a pack reaches" if cut else ""

    return PackCheck("chain", CheckState.OK, words)


def link_of_row(row: Row) -> ChainLink:
    """Return the link of a row of the section `timeline`."""
    return ChainLink(
        seq=row["seq"],
        prev_hash=bytes.fromhex(row["prev_hash"]),
        hash=bytes.fromhex(row["hash"]),
        content=ChainContent(
            tenant_id=row["tenant_id"],
            alert_id=row["alert_id"],
            at=_moment(row["at"]),
            action=row["action"],
            status=row["status"],
            by=row["by"],
            note=row["note"],
        ),
    )


def _moment(written: str) -> datetime:
    """Return a time that is written in the one form that a link seals.

    Raises:
        ValueError: the text is another form of the moment.
    """
    at = datetime.fromisoformat(written)
    if at.tzinfo is None or time_text(at) != written:
        raise ValueError(f"{written!r} is not written as it was sealed")
    return at


def _blind(row: Row) -> ChainLink:
    return ChainLink(
        seq=row["seq"],
        prev_hash=bytes.fromhex(row["prev_hash"]),
        hash=bytes.fromhex(row["hash"]),
        digest=bytes.fromhex(row["digest"]),
        erased=row["erased"] is True,
    )


def _check_key(pack: Pack, expected: str | None, own: str | None) -> PackCheck:
    """Check that the right key signed the pack: a forger can sign too, with another key.

    A pack of another company is no forgery. Its key is unknown, not wrong.
    """
    found = fingerprint(base64.b64decode(pack["signature"]["public_key"], validate=True))
    if expected is not None:
        same = plain_fingerprint(expected) == found
        words = "the expected key" if same else f"not the expected key {plain_fingerprint(expected)}"
        return PackCheck("key", CheckState.OK if same else CheckState.FAILED, f"{found} is {words}")
    if own == found:
        return PackCheck("key", CheckState.OK, f"{found} is the key of this installation")

    return PackCheck(
        "key", CheckState.UNKNOWN, f"compare {found} with the fingerprint that the company published"
    )


def plain_fingerprint(text: str) -> str:
    """Return a fingerprint in its plain form. Users write it with colons, blanks or capitals."""
    return "".join(text.split()).replace(":", "").lower()
