"""The outbox on disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vigil_device.messages import Kind, State
from vigil_device.store import MAX_SET_ASIDE, MEMORY, OutboxInUse, Store, StoreFailed


def put(store: Store, msg_id: str, kind: Kind = Kind.ALERT) -> int:
    return store.put(
        msg_id=msg_id, kind=kind, topic="t", payload=b"\x00\xff{}", silent=True, born_s=1.5
    ).number


def test_what_was_put_is_there_after_a_restart_in_its_order(tmp_path: Path) -> None:
    with_two = Store(tmp_path / "o.db")
    put(with_two, "a")
    put(with_two, "b", Kind.POSITION)
    with_two.close()

    again = Store(tmp_path / "o.db")

    assert [(m.msg_id, m.kind, m.topic, m.payload, m.silent, m.born_s) for m in again.waiting()] == [
        ("a", Kind.ALERT, "t", b"\x00\xff{}", True, 1.5),
        ("b", Kind.POSITION, "t", b"\x00\xff{}", True, 1.5),
    ]
    assert again.installation == with_two.installation
    assert (with_two.starts, again.starts) == (1, 2)


def test_what_is_done_is_deleted_with_the_next_message_and_its_number_is_never_used_again(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "o.db")
    first = put(store, "a")
    store.remove(first)
    assert store.waiting() == []
    second = put(store, "b")
    store.remove(second)
    store.close()

    again = Store(tmp_path / "o.db")

    assert again.waiting() == []
    assert put(again, "c") > second > first


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "o.db")
    with pytest.raises(OutboxInUse, match="open in another process"):
        Store(tmp_path / "o.db")
    store.close()
    Store(tmp_path / "o.db").close()


def test_every_message_that_put_returned_survives_kill_9(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from vigil_device.messages import Kind
        from vigil_device.store import Store
        store = Store(sys.argv[1])
        for number in range(10_000_000):
            made = store.put(msg_id=str(number), kind=Kind.ALERT, topic="t", payload=b"{}", born_s=0.0)
            print(number, flush=True)
            if number % 3 == 0:
                store.remove(made.number)
        """)
    for _ in range(3):
        path = tmp_path / "killed.db"
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(200)]
            process.send_signal(signal.SIGKILL)
            said += process.stdout.readlines()
        reported = {int(line) for line in said if line.endswith(b"\n")}

        store = Store(path)
        kept = {int(message.msg_id) for message in store.waiting()}
        store.close()

        assert len(reported) >= 200
        assert {number for number in reported if number % 3} <= kept


def test_a_damaged_database_is_kept_beside_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    store = Store(path)
    for number in range(500):
        put(store, f"m{number}")
    name = store.installation
    store.close()
    content = bytearray(path.read_bytes())
    content[:4096] = os.urandom(4096)
    path.write_bytes(content)

    fresh = Store(path)

    assert fresh.damaged is not None
    assert fresh.damaged.read_bytes() == bytes(content)
    assert fresh.waiting() == []
    assert fresh.installation != name
    assert put(fresh, "new") == 1


def test_a_page_of_messages_that_is_damaged_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    store = Store(path)
    for number in range(500):
        put(store, f"m{number}")
    store.close()
    content = bytearray(path.read_bytes())
    for start in range(4096 * 5, len(content), 4096):
        content[start : start + 4096] = b"\xaa" * 4096
    path.write_bytes(content)

    assert Store(path).damaged is not None


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="nowhere"):
        Store(tmp_path / "nowhere" / "o.db")


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreFailed, match="another version"):
        Store(path)


def test_a_full_disk_is_reported_and_later_messages_are_taken(tmp_path: Path) -> None:
    store = Store(tmp_path / "o.db")
    store._connection.execute("PRAGMA max_page_count = 30").fetchall()  # noqa: SLF001 - SQLite's own full disk
    with pytest.raises(StoreFailed, match="full"):
        for number in range(1_000):
            store.put(msg_id=str(number), kind=Kind.ALERT, topic="t", payload=b"x" * 1_000, born_s=0.0)
    kept = store.waiting()
    assert kept

    for message in kept:
        store.remove(message.number)
    store.flush()

    assert put(store, "later") > 0


def test_what_is_set_aside_is_kept_with_its_reason_and_bounded() -> None:
    store = Store(MEMORY)
    for number in range(MAX_SET_ASIDE + 5):
        put(store, f"m{number}")
        [message] = store.waiting()
        store.set_aside(message, State.REFUSED, "no_fix")

    found = store.all_set_aside()

    assert len(found) == MAX_SET_ASIDE
    assert (found[-1].message.msg_id, found[-1].state, found[-1].reason) == (
        f"m{MAX_SET_ASIDE + 4}",
        State.REFUSED,
        "no_fix",
    )
    store.clear_set_aside()
    assert store.all_set_aside() == []


def test_the_time_that_an_outbox_ran_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "o.db")
    store.flush(ran_s=123.5)
    store.close()

    assert Store(tmp_path / "o.db").ran_s == 123.5


def test_a_message_is_on_the_disk_before_put_returns(tmp_path: Path) -> None:
    store = Store(tmp_path / "o.db")
    settings = [
        store._connection.execute(f"PRAGMA {name}").fetchone()[0]  # noqa: SLF001
        for name in ("synchronous", "journal_mode", "locking_mode")
    ]
    assert settings == [2, "wal", "exclusive"]
