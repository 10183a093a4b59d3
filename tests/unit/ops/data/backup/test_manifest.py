from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from ops.data.backup.manifest import (
    BackupFile,
    KeyFile,
    KeySet,
    Manifest,
    SnapshotFacts,
    TimelineHead,
    differences,
    disagreements,
    encoded,
    is_backup,
    name_of,
    read,
    read_keys,
    to_prune,
)
from services.contracts.errors import Refused

FACTS = SnapshotFacts(
    schema="public",
    revision="0006",
    postgresql="15.14",
    postgis="3.3.2",
    tables={"public.tenant": 2, "public.site": 0},
    heads=[TimelineHead(1, 7, "aa"), TimelineHead(2, 1, "bb")],
)
MANIFEST = Manifest(
    name="vigil-20260105T120000Z",
    taken_at=datetime(2026, 1, 5, 12, tzinfo=UTC),
    vigil_version="0.1.0",
    dumped_by="pg_dump (PostgreSQL) 15.14",
    facts=FACTS,
    files=[BackupFile("database.dump", 10, "d1"), BackupFile("config.yaml", 3, "d2")],
    notes=[],
)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    assert read(encoded(MANIFEST), where="x") == MANIFEST
    keys = KeySet(name="n", files=[KeyFile("a", "d", "/etc/a", "a")])
    assert read_keys(encoded(keys), where="x") == keys


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"format": 1, "name": 3}'])
def test_what_is_no_manifest_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(Refused, match="/b/manifest.json"):
        read(data, where="/b/manifest.json")
    with pytest.raises(Refused, match="/k/manifest.json"):
        read_keys(data, where="/k/manifest.json")


def test_a_manifest_of_a_later_format_names_the_version_that_made_it() -> None:
    with pytest.raises(Refused, match=r"format 2.*9\.9"):
        read(encoded(msgspec.structs.replace(MANIFEST, format=2, vigil_version="9.9")), where="x")


def test_names_sort_by_time_whatever_the_zone() -> None:
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert name_of(at) == "vigil-20260105T120000Z" == name_of(at.astimezone(timezone(timedelta(hours=5.5))))
    assert is_backup(name_of(at))
    for name in ("vigil-20260105T120000Z.partial", "x-vigil-20260105T120000Z", "last-success", "vigil-x"):
        assert not is_backup(name)


def test_files_that_are_missing_or_other_are_named_and_further_ones_do_not_matter() -> None:
    there = {file.name: file for file in MANIFEST.files}
    assert differences(MANIFEST.files, {**there, "further": BackupFile("further", 1, "x")}) == []
    assert differences(MANIFEST.files, {"config.yaml": there["config.yaml"]}) == ["database.dump is missing"]
    changed = {**there, "database.dump": BackupFile("database.dump", 9, "other")}
    [line] = differences(MANIFEST.files, changed)
    assert "database.dump is not what was written: 9 of 10 bytes" in line


def test_a_database_agrees_only_with_the_same_rows_revision_and_heads() -> None:
    assert (
        disagreements(FACTS, msgspec.structs.replace(FACTS, postgresql="16.1", heads=FACTS.heads[::-1])) == []
    )
    fewer = msgspec.structs.replace(FACTS, tables={"public.tenant": 1, "public.zone": 4})
    assert disagreements(FACTS, fewer) == [
        "public.site has None rows, 0 were backed up",
        "public.tenant has 1 rows, 2 were backed up",
        "public.zone has 4 rows, None were backed up",
    ]
    assert "0005" in disagreements(FACTS, msgspec.structs.replace(FACTS, revision="0005"))[0]
    assert (
        "heads" in disagreements(FACTS, msgspec.structs.replace(FACTS, heads=[TimelineHead(1, 7, "aa")]))[0]
    )


def test_the_oldest_beyond_keep_go_and_zero_keeps_all() -> None:
    names = [f"vigil-2026010{day}T120000Z" for day in (3, 1, 2)]
    assert to_prune([*names, "last-success"], keep=2) == ["vigil-20260101T120000Z"]
    assert to_prune(names, keep=3) == to_prune(names, keep=9) == to_prune(names, keep=0) == []
