"""Tests of the timeline on a real PostgreSQL.

It is chained at commit and append-only, and every edit is found.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from ops.commands.data import migrate
from services.alerts.evidence import hash_chain
from services.alerts.evidence.hash_chain import ChainContent, ChainFaultKind, ChainHead, ChainLink
from services.platform.database import Database

HOSTILE = [
    "",
    'she said "help"',
    "C:\\temp\\new \\u0041 \\",
    "line\nline\r\ntab\tend\b\f",
    "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "🆘 مساعدة मदद \U0010ffff\ufffe",
    "\u2028 \u2029 \u202e reversed \ufeff",
    "</script><script>alert(1)</script>",
    "',''); DROP TABLE alert_timeline; --",
    "x" * 200_000 + '"',
]
READ = text(
    "SELECT seq, prev_hash, hash, tenant_id, alert_id, at, action, status, by, note FROM alert_timeline"
    " WHERE tenant_id = :tenant ORDER BY seq, entry_id"
)
ADD = text(
    "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, note)"
    " VALUES (CAST(:alert AS uuid), :tenant, :at, 'noted', 'NEW', :by, :note)"
)
NEW_ALERT = text(
    "INSERT INTO mqtt_device_alert (alert_id, tenant_id, alert_type, severity, status, source_id, dedup_key, message,"
    " recorded_at, received_at, last_seen_at) VALUES (CAST(:alert AS uuid), :tenant, 'PANIC', 'CRITICAL', 'NEW', 'g',"
    " :alert, 'm', now(), now(), now())"
)


def new_alert(connection: Connection, tenant: int = 1) -> str:
    alert = str(uuid4())
    connection.execute(NEW_ALERT, {"alert": alert, "tenant": tenant})
    return alert


def add(connection: Connection, alert: str, *, note: str = "", tenant: int = 1, by: str = "ann") -> None:
    values = {"alert": alert, "tenant": tenant, "at": datetime.now(UTC), "by": by, "note": note}
    connection.execute(ADD, values)


def links_of(connection: Connection, tenant: int = 1) -> list[ChainLink]:
    return [
        ChainLink(
            seq=row.seq,
            prev_hash=bytes(row.prev_hash),
            hash=bytes(row.hash),
            content=ChainContent(
                tenant_id=row.tenant_id,
                alert_id=str(row.alert_id),
                at=row.at,
                action=row.action,
                status=row.status,
                by=row.by,
                note=row.note,
            ),
        )
        for row in connection.execute(READ, {"tenant": tenant})
        if row.seq is not None
    ]


def head_of(connection: Connection, tenant: int = 1) -> ChainHead | None:
    row = connection.execute(
        text("SELECT seq, hash FROM timeline_head WHERE tenant_id = :t"), {"t": tenant}
    ).one_or_none()
    return None if row is None else ChainHead(row.seq, bytes(row.hash))


def faults(engine: Engine, tenant: int = 1) -> list[hash_chain.ChainFault]:
    with engine.connect() as connection:
        return hash_chain.verify(
            links_of(connection, tenant),
            tenant_id=tenant,
            head=head_of(connection, tenant) or ChainHead(0, b""),
        )


def seqs(engine: Engine, tenant: int = 1) -> list[int]:
    with engine.connect() as connection:
        return [link.seq for link in links_of(connection, tenant)]


@pytest.fixture
def chained(engine: Engine) -> str:
    """Write an alert with seven rows and hostile notes, one transaction each. Return its id."""
    with engine.begin() as connection:
        alert = new_alert(connection)
    for note in HOSTILE[:7]:
        with engine.begin() as connection:
            add(connection, alert, note=note)
    return alert


def test_rows_are_chained_at_commit_in_order_and_the_head_follows(engine: Engine, chained: str) -> None:
    assert chained
    assert seqs(engine) == [1, 2, 3, 4, 5, 6, 7]
    assert faults(engine) == []


def test_the_services_write_a_chain_that_they_cannot_touch(engine: Engine, database: Database) -> None:
    with database.across() as connection:
        alert = new_alert(connection)
        add(connection, alert)
        add(connection, alert)
        connection.execute(text("UPDATE alert_timeline SET announced_at = now()"))
    with database.of(1) as connection:
        add(connection, alert, by="bob")
    with database.across() as connection:
        connection.execute(text("UPDATE alert_timeline SET announced_at = now()"))
    assert seqs(engine) == [1, 2, 3]
    assert faults(engine) == []
    with database.of(1) as connection:
        assert head_of(connection) is not None
    with pytest.raises(ProgrammingError, match="permission denied"), database.across() as connection:
        head_of(connection)
    with pytest.raises(ProgrammingError, match="append-only"), database.of(1) as connection:
        connection.execute(
            text(
                "INSERT INTO alert_timeline (alert_id, tenant_id, at, action, status, by, seq, prev_hash, hash)"
                " VALUES (CAST(:a AS uuid), 1, now(), 'x', 'NEW', 'x', 9, '', '')"
            ),
            {"a": alert},
        )


def test_a_transaction_that_is_rolled_back_leaves_no_gap(engine: Engine, chained: str) -> None:
    with engine.connect() as connection:
        add(connection, chained)
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        connection.rollback()
    with engine.begin() as connection:
        add(connection, chained)
    assert seqs(engine) == list(range(1, 9))
    assert faults(engine) == []


@pytest.mark.parametrize("note", HOSTILE, ids=range(len(HOSTILE)))
def test_python_and_the_database_write_the_same_canonical_bytes(engine: Engine, note: str) -> None:
    compare(engine, note)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(note=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_they_do_so_for_any_note(engine: Engine, note: str) -> None:
    compare(engine, note)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.datetimes(timezones=st.timezones()))
def test_they_do_so_for_any_time(engine: Engine, at: datetime) -> None:
    if 1 < at.year < 9999:
        compare(engine, "", at=at)


def compare(engine: Engine, note: str, *, at: datetime | None = None) -> None:
    content = ChainContent(
        tenant_id=7,
        alert_id=str(uuid4()),
        at=at or datetime.now(UTC),
        action=note,
        status="NEW",
        by=note,
        note=note,
    )
    query = text(
        "SELECT vigil_timeline_canonical(12, 7, CAST(:alert_id AS uuid), :at, :action, :status, :by, :note)"
    )
    values = {name: getattr(content, name) for name in content.__struct_fields__}
    with engine.connect() as connection:
        theirs = bytes(connection.execute(query, values).scalar_one())
    assert theirs == hash_chain.canonical(12, content)


def test_two_writers_of_one_tenant_make_one_chain_without_gaps(engine: Engine, chained: str) -> None:
    def write(count: int) -> None:
        for _ in range(count):
            with engine.begin() as connection:
                add(connection, chained)

    run_at_once([lambda: write(25), lambda: write(25)])
    assert seqs(engine) == list(range(1, 58))
    assert faults(engine) == []


def test_fifty_writers_at_once_make_one_chain_of_a_tenant_that_had_none(
    engine: Engine, database: Database
) -> None:
    with engine.begin() as connection:
        alert = new_alert(connection)

    def write() -> None:
        with database.across() as connection:
            add(connection, alert)

    run_at_once([write] * 50)
    assert seqs(engine) == list(range(1, 51))
    assert faults(engine) == []


def test_writers_of_several_tenants_in_one_order_never_wait_in_a_circle(engine: Engine) -> None:
    tenants = (1, 2, 3)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'b'), (3, 'c')"))
        alerts = {tenant: new_alert(connection, tenant) for tenant in tenants}

    def write(which: Sequence[int]) -> None:
        for _ in range(10):
            with engine.begin() as connection:
                for tenant in which:
                    add(connection, alerts[tenant], tenant=tenant)

    run_at_once([lambda w=w: write(w) for w in ((1, 2, 3), (2, 3), (1, 3), (1, 2))])  # type: ignore[misc]
    for tenant, rows in ((1, 30), (2, 30), (3, 30)):
        assert seqs(engine, tenant) == list(range(1, rows + 1))
        assert faults(engine, tenant) == []


def run_at_once(tasks: Sequence[object]) -> None:
    failed: list[BaseException] = []

    def run(task: object) -> None:
        try:
            task()  # type: ignore[operator]
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failed == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alert_timeline SET note = 'another' WHERE seq = 4",
        "UPDATE alert_timeline SET at = at + interval '1 second' WHERE seq = 4",
        "UPDATE alert_timeline SET seq = 40 WHERE seq = 4",
        "UPDATE alert_timeline SET hash = prev_hash WHERE seq = 4",
        "UPDATE alert_timeline SET seq = NULL, prev_hash = NULL, hash = NULL WHERE seq = 4",
        "DELETE FROM alert_timeline WHERE seq = 4",
        "TRUNCATE alert_timeline",
    ],
)
def test_not_even_the_owner_edits_a_row(engine: Engine, chained: str, statement: str) -> None:
    assert chained
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alert_timeline SET announced_at = now()"))
    assert faults(engine) == []


EDITS = {
    "alert_id": "alert_id = CAST(:other AS uuid)",
    "tenant_id": "tenant_id = 2, alert_id = CAST(:foreign AS uuid)",
    "at": "at = at + interval '1 microsecond'",
    "action": "action = 'Noted'",
    "status": "status = 'RESOLVED'",
    "by": "by = 'eve'",
    "note": "note = note || ' '",
    "seq": "seq = 400",
    "prev_hash": "prev_hash = sha256(prev_hash)",
    "hash": "hash = sha256(hash)",
    "all of seq, prev_hash, hash": "seq = NULL, prev_hash = NULL, hash = NULL",
}


@pytest.fixture
def unguarded(engine: Engine, chained: str) -> Iterator[Connection]:
    """Yield the owner's connection with the triggers off.

    The owner can change the rows in any way, but cannot compute the hashes.
    """
    assert chained
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'b')"))
        connection.execute(text("ALTER TABLE alert_timeline DISABLE TRIGGER USER"))
        yield connection


@pytest.mark.parametrize("column", EDITS)
@pytest.mark.parametrize("seq", [1, 4, 7])
def test_every_edit_behind_the_triggers_is_found(unguarded: Connection, column: str, seq: int) -> None:
    values = {"other": new_alert(unguarded), "foreign": new_alert(unguarded, 2), "seq": seq}
    needed = {name: value for name, value in values.items() if f":{name}" in EDITS[column] or name == "seq"}
    before = links_of(unguarded)
    done = unguarded.execute(text(f"UPDATE alert_timeline SET {EDITS[column]} WHERE seq = :seq"), needed)
    assert done.rowcount == 1
    links = links_of(unguarded)
    found = hash_chain.verify(links, tenant_id=1, head=head_of(unguarded))
    if seq == 1 and len(links) < len(before):
        assert links[0].seq == 2  # like an erasure at the beginning: the chain says where it begins
    elif seq == 1 and column == "seq":
        assert ChainFaultKind.ALTERED in {fault.wrong for fault in found}
    else:
        assert found[0].seq in (seq, 400, seq + 1)


def test_a_row_that_was_taken_out_is_missed(unguarded: Connection, engine: Engine) -> None:
    assert engine
    unguarded.execute(text("DELETE FROM alert_timeline WHERE seq = 4"))
    [fault] = hash_chain.verify(links_of(unguarded), tenant_id=1, head=head_of(unguarded))
    assert (fault.seq, fault.wrong) == (4, ChainFaultKind.MISSING)
    unguarded.execute(text("DELETE FROM alert_timeline WHERE seq = 7"))
    assert hash_chain.verify(links_of(unguarded), tenant_id=1, head=head_of(unguarded))[-1].seq == 7


def test_an_erased_alert_leaves_its_places_and_the_chain_holds(engine: Engine, chained: str) -> None:
    with engine.begin() as connection:
        other = new_alert(connection)
        add(connection, other)
        add(connection, chained)
    with engine.begin() as connection:
        connection.execute(
            text("DELETE FROM mqtt_device_alert WHERE alert_id = CAST(:a AS uuid)"), {"a": other}
        )
    assert seqs(engine) == [1, 2, 3, 4, 5, 6, 7, 9]
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT seq, prev_hash, hash, digest FROM timeline_erased WHERE tenant_id = 1")
        ).one()
        links = links_of(connection)
        head = head_of(connection)
    erased = ChainLink(
        seq=row.seq,
        prev_hash=bytes(row.prev_hash),
        hash=bytes(row.hash),
        digest=bytes(row.digest),
        erased=True,
    )
    assert [fault.seq for fault in hash_chain.verify(links, tenant_id=1, head=head)] == [8]
    assert (
        hash_chain.verify(sorted([*links, erased], key=lambda link: link.seq), tenant_id=1, head=head) == []
    )


def test_an_alert_that_is_made_and_erased_in_one_transaction_takes_no_place(
    engine: Engine, chained: str
) -> None:
    with engine.begin() as connection:
        gone = new_alert(connection)
        add(connection, gone)
        add(connection, chained)
        connection.execute(
            text("DELETE FROM mqtt_device_alert WHERE alert_id = CAST(:a AS uuid)"), {"a": gone}
        )
    assert seqs(engine) == list(range(1, 9))
    assert faults(engine) == []


def test_rows_from_before_the_chain_are_chained_by_the_migration_in_their_order(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tenant (tenant_id, name) VALUES (2, 'b')"))
    command.downgrade(migrate.alembic(), "0004-1")
    with engine.begin() as connection:
        alerts = {tenant: new_alert(connection, tenant) for tenant in (1, 2)}
        for number, tenant in enumerate((2, 1, 2, 2, 1)):
            add(connection, alerts[tenant], tenant=tenant, note=str(number))
    command.upgrade(migrate.alembic(), "head")
    for tenant, notes in ((1, ["1", "4"]), (2, ["0", "2", "3"])):
        with engine.begin() as connection:
            add(connection, alerts[tenant], tenant=tenant, note="after")
        with engine.connect() as connection:
            links = links_of(connection, tenant)
        assert [link.content.note for link in links if link.content] == [*notes, "after"]
        assert faults(engine, tenant) == []
