"""`vigil alert`: alerts with their records, and evidence that a third party can check."""

from __future__ import annotations

import getpass
import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from ops.environment import apply_environment, home, write_private
from ops.input_output.input_files import INPUT_FILE, naming, read_bytes
from ops.input_output.tables import as_json_option, limit_option, show, worded
from services.alerts.evidence import html, store
from services.alerts.evidence import pack as evidence
from services.alerts.evidence.hash_chain import ChainFault, ChainVerifier
from services.alerts.evidence.pack import CheckState, Pack, PackCheck
from services.alerts.evidence.signing_key import DEFAULT_NAME, read_key, signing_key
from services.alerts.evidence.store import head_of, links_of, unchained
from services.contracts.errors import NotFound, Refused, VigilError
from services.contracts.events import AlertStatus
from services.contracts.ids import as_alert_id
from services.platform import config
from services.platform.database import Database
from services.platform.files.text_files import text_of

SHOWN_FAULTS = 20
EXIT_UNKNOWN = 3
OPEN = [AlertStatus.NEW, AlertStatus.ACKNOWLEDGED, AlertStatus.IN_PROGRESS]
LISTED = text(
    """
    SELECT alert_id, tenant_id, alert_type, severity, status, source_id, carried_by, message, occurrences, recorded_at,
           received_at, acknowledged_by, closed_at, drill
    FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND status = ANY(:statuses)
    ORDER BY received_at DESC LIMIT :limit
    """
)
FOUND = text(
    """
    SELECT alert_id, tenant_id, site_id, alert_type, severity, status, source_id, carried_by, message, occurrences,
           recorded_at, received_at, last_seen_at, ST_Y(location::geometry) AS lat, ST_X(location::geometry) AS lon,
           silent, drill, flags, acknowledged_by, acknowledged_at, cleared_at, closed_at
    FROM mqtt_device_alert WHERE tenant_id = :tenant_id AND alert_id = :alert_id
    """
)
LINES = text(
    "SELECT seq, at, action, status, by, note FROM alert_timeline"
    " WHERE tenant_id = :tenant_id AND alert_id = :alert_id ORDER BY seq, entry_id"
)

tenant_option = click.option(
    "--tenant", "tenant_id", type=int, help="Tenant id; the default tenant if left out."
)


@click.group()
def alert() -> None:
    """Alerts, their timelines, and signed evidence."""


@alert.command("list")
@click.option("--status", type=click.Choice(["open", "all", *AlertStatus]), default="open", show_default=True)
@tenant_option
@limit_option
@as_json_option
def list_alerts(status: str, tenant_id: int | None, limit: int, as_json: bool) -> None:
    """List alerts, newest first."""
    settings = _settings()
    wanted = {"open": OPEN, "all": list(AlertStatus)}.get(
        status, [AlertStatus(status)] if status.isupper() else []
    )
    tenant = _tenant(settings, tenant_id)
    values = {"tenant_id": tenant, "statuses": [str(one) for one in wanted], "limit": limit}
    with _database(settings).of(tenant) as connection:
        rows = [dict(row) for row in connection.execute(LISTED, values).mappings()]
    show(rows, as_json=as_json)


@alert.command("show")
@click.argument("alert_id")
@tenant_option
@as_json_option
def show_alert(alert_id: str, tenant_id: int | None, as_json: bool) -> None:
    """Show one alert with its timeline."""
    settings = _settings()
    tenant = _tenant(settings, tenant_id)
    values = {"tenant_id": tenant, "alert_id": as_alert_id(alert_id)}

    with _database(settings).of(tenant, snapshot=True) as connection:
        found = connection.execute(FOUND, values).mappings().one_or_none()
        lines = [dict(row) for row in connection.execute(LINES, values).mappings()]

    if found is None:
        raise NotFound(f"no alert {alert_id} of tenant {tenant}; `vigil alert list --status all` lists them")
    if as_json:
        click.echo(msgspec.json.encode({**found, "timeline": lines}))
        return

    show([{"what": name, "value": worded(name, value)} for name, value in found.items()], as_json=False)
    click.echo()
    show(lines, as_json=False)


@alert.command()
@click.argument("alert_id")
@tenant_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Directory for the files; the current one if left out.",
)
@click.option("--by", "made_by", help="Name of the person who exports it; your user name if left out.")
def export(alert_id: str, tenant_id: int | None, out: Path, made_by: str | None) -> None:
    """Write the evidence of an alert: a signed JSON file, and a page to read."""
    settings = _settings()
    pack = store.export(
        _database(settings),
        tenant_id=_tenant(settings, tenant_id),
        alert_id=alert_id,
        made_by=made_by or getpass.getuser(),
        now=datetime.now(UTC),
        key=_key(make=True),
        say=click.echo,
    )

    failed = [check for check in evidence.check(pack) if check.state is CheckState.FAILED]
    stem = out / f"evidence-{pack['alert']['alert_id']}"
    data = evidence.file_bytes(pack)
    names = stem.with_suffix(".json"), stem.with_suffix(".html")
    write_private(names[0], data)
    write_private(names[1], _page_of(pack, names[0].name, data))

    for name in names:
        click.echo(f"wrote {name} ({name.stat().st_size:,} bytes)")

    store.hold(
        _database(settings),
        tenant_id=_tenant(settings, tenant_id),
        alert_id=alert_id,
        reason="exported as evidence",
        by=made_by or getpass.getuser(),
    )

    click.echo(f"sha256 {hashlib.sha256(data).hexdigest()}")
    click.echo(f"key {pack['signature']['fingerprint']}")

    if failed:
        raise Refused("the record fails its checks: " + "; ".join(f"{c.name}: {c.detail}" for c in failed))


@alert.command()
@click.argument("alert_id")
@tenant_option
@click.option("--reason", required=True, help="Reason, such as a case number or an insurer's request.")
def hold(alert_id: str, tenant_id: int | None, reason: str) -> None:
    """Keep an alert with its track beyond retention."""
    settings = _settings()
    store.hold(
        _database(settings),
        tenant_id=_tenant(settings, tenant_id),
        alert_id=alert_id,
        reason=reason,
        by=getpass.getuser(),
    )
    click.echo(f"alert {alert_id} is on hold")


@alert.command()
@click.argument("alert_id")
@tenant_option
def release(alert_id: str, tenant_id: int | None) -> None:
    """End a hold: retention removes the alert in time."""
    settings = _settings()
    store.release(_database(settings), tenant_id=_tenant(settings, tenant_id), alert_id=alert_id)
    click.echo(f"alert {alert_id} is not on hold")


@alert.command()
@click.argument("file", required=False, type=INPUT_FILE)
@click.option(
    "--key", help="Fingerprint that the company published; this installation's own key if left out."
)
@click.option("--tenant", "tenant_id", type=int, help="Instead of a file: this tenant's whole record.")
@click.option(
    "--against",
    multiple=True,
    type=INPUT_FILE,
    help="With --tenant: an evidence file exported earlier; the record must still agree with the file.",
)
@as_json_option
def verify(
    file: Path | None, key: str | None, tenant_id: int | None, against: tuple[Path, ...], as_json: bool
) -> None:
    """Check an evidence FILE, or the whole record.

    Checking a FILE needs no server. With --tenant the whole record in the database is checked.

    A record that was rewritten from end to end is consistent with itself. Only an export that left
    the company earlier shows the difference.

    Exit code 0: everything holds. 1: something does not. 3: nothing is wrong, but the signer is not
    known, or another version of Vigil made the page.
    """
    if (file is None) == (tenant_id is None):
        raise Refused("give either a FILE or --tenant N")
    if file and against:
        raise Refused(
            "--against goes with --tenant N: it compares a file with the record, not with another file"
        )

    say: Callable[[str], None] = (lambda _: None) if as_json else (lambda line: click.echo(line, err=True))
    checks = check_file(file, key=key) if file else check_tenant(tenant_id or 0, against=against, say=say)
    states = {check.state for check in checks}

    if as_json:
        result = {
            "ok": states == {CheckState.OK},
            "subject": str(file or f"tenant {tenant_id}"),
            "checks": checks,
        }
        click.echo(msgspec.json.encode(result))
    else:
        for check in checks:
            # Text of a file from a stranger must not reach the operator's terminal unescaped.
            detail = check.detail.encode("unicode_escape", "backslashreplace").decode()
            name = check.name.encode("unicode_escape", "backslashreplace").decode()
            click.echo(f"{check.state:<8}{name}{': ' if detail else ''}{detail}")

    if CheckState.FAILED in states:
        raise SystemExit(1)
    if CheckState.UNKNOWN in states:
        raise SystemExit(EXIT_UNKNOWN)


@alert.command("evidence-key")
@as_json_option
def evidence_key(as_json: bool) -> None:
    """Print the fingerprint of the key that signs evidence: publish it before it is needed."""
    public = evidence.public_bytes(_key(make=True).public_key())
    if as_json:
        show([{"fingerprint": evidence.fingerprint(public), "file": str(_key_file())}], as_json=True)
    else:
        click.echo(evidence.fingerprint(public))


def check_file(file: Path, *, key: str | None) -> list[PackCheck]:
    """Return every check of a file, and of the page beside it when there is one."""
    try:
        data = read_bytes(file)
        text_of(data)  # refuses a file that is not text, with a helpful message
        pack = evidence.parse(data)
    except Refused as error:
        return [PackCheck("file", CheckState.FAILED, str(error))]

    expected, whose = (
        (key, "the key that was given") if key else (_own_fingerprint(), "this installation's key")
    )
    checks = [PackCheck("file", CheckState.OK, f"sha256 {hashlib.sha256(data).hexdigest()}")]
    checks += evidence.check(pack, expected=key, own=_own_fingerprint())
    page = file.with_suffix(".html")

    return [*checks, _check_page(page, pack, file.name, data)] if page.exists() else checks


def check_tenant(tenant_id: int, *, against: Sequence[Path], say: Callable[[str], None]) -> list[PackCheck]:
    """Check the tenant's whole chain and its head in the database, also against earlier packs."""
    settings = _settings()
    verifier, faults = ChainVerifier(tenant_id=tenant_id), list[ChainFault]()
    anchors = {path: _anchors_of(path, tenant_id) for path in against}
    wanted = {seq for places in anchors.values() for seq in places}

    found: dict[int, str] = {}
    with _database(settings).of(tenant_id, snapshot=True) as connection:
        for batch in links_of(connection, tenant_id):
            for link in batch:
                faults += verifier.step(link)
            found |= {link.seq: link.hash.hex() for link in batch if link.seq in wanted}
            say(f"checked to seq {batch[-1].seq}: {len(faults)} faults")
        head = head_of(connection, tenant_id)
        without_place = unchained(connection, tenant_id)

    checks = [PackCheck("link", CheckState.FAILED, str(fault)) for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        checks.append(PackCheck("links", CheckState.FAILED, f"and {len(faults) - SHOWN_FAULTS} faults more"))
    if not faults:
        checks.append(PackCheck("links", CheckState.OK, _span(verifier)))

    checks += [PackCheck("head", CheckState.FAILED, str(fault)) for fault in verifier.end(head)] or [
        PackCheck(
            "head",
            CheckState.OK,
            f"seq {head.seq}, hash {head.hash.hex()}" if head else "nothing on record yet",
        )
    ]

    if without_place:
        checks.append(
            PackCheck("rows", CheckState.FAILED, f"{without_place} rows were written past the chain")
        )

    return checks + [_anchored(path, places, found) for path, places in anchors.items()]


def _anchors_of(path: Path, tenant_id: int) -> dict[int, str]:
    """Return the hashes that an earlier pack holds. Raises `Refused`."""
    content = read_bytes(path)
    with naming(path):
        text_of(content)
        return evidence.anchors(evidence.parse(content), tenant_id=tenant_id)


def _anchored(path: Path, places: dict[int, str], found: dict[int, str]) -> PackCheck:
    """Check that the record still has the hashes that it had when the pack was made."""
    lost = [seq for seq, its_hash in sorted(places.items()) if found.get(seq) != its_hash]
    if lost:
        return PackCheck(
            "against",
            CheckState.FAILED,
            f"seq {lost[0]} is not what {path.name} holds: it was rewritten since",
        )

    return PackCheck(
        "against", CheckState.OK, f"the record is still that of {path.name}, to seq {max(places)}"
    )


def _span(verifier: ChainVerifier) -> str:
    if verifier.first is None or verifier.last is None:
        return "none"
    begins = f"begins at seq {verifier.first.seq}, " if verifier.first.seq != 1 else ""
    erased = f", {verifier.erased} of alerts that were erased" if verifier.erased else ""
    return f"{begins}{verifier.count} links to seq {verifier.last.seq} hold{erased}"


def _check_page(page: Path, pack: Pack, json_name: str, data: bytes) -> PackCheck:
    """Check the page, which is made of the JSON alone.

    It must be the same when it is made again.
    """
    try:
        there = page.read_bytes()
        if f'content="{html.VERSION}"'.encode() not in there:
            return PackCheck(
                "page", CheckState.FAILED, f"{page.name} was not made by this version; read the JSON instead"
            )
        same = there == _page_of(pack, json_name, data)
    except (
        OSError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        return PackCheck("page", CheckState.FAILED, f"{page.name}: {type(error).__name__}: {error}")

    if not same:
        return PackCheck("page", CheckState.FAILED, f"{page.name} is not what is made of {json_name}")

    return PackCheck("page", CheckState.OK, f"{page.name} says what {json_name} holds")


def _page_of(pack: Pack, json_name: str, data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return html.page(pack, json_name=json_name, json_sha256=digest).encode()


def _settings() -> config.Config:
    apply_environment()
    return config.load()


def _tenant(settings: config.Config, tenant_id: int | None) -> int:
    return settings.default_tenant_id if tenant_id is None else tenant_id


def _database(settings: config.Config) -> Database:
    return Database(settings, name="cli", pool_size=1, as_owner=True)


def _key_file() -> Path:
    return Path(os.environ.get("VIGIL_EVIDENCE_KEY_FILE") or home() / DEFAULT_NAME)


def _key(*, make: bool) -> Ed25519PrivateKey:
    return signing_key(_key_file()) if make else read_key(_key_file())


def _own_fingerprint() -> str | None:
    """Return this installation's fingerprint, when it has a key.

    An operator who only checks evidence needs no key, and none is made.
    """
    try:
        return evidence.fingerprint(evidence.public_bytes(_key(make=False).public_key()))
    except VigilError:
        return None
