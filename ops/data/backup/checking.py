"""Checks whether a backup can be restored.

The files must be as they were written. A scratch database made of the backup must hold the rows
that the snapshot held, and every chain of the timeline must be whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from ops.data.backup import postgres, store
from ops.data.backup.manifest import DUMP, Manifest, differences, disagreements
from ops.data.backup.postgres import Say
from services.alerts.evidence.hash_chain import ChainVerifier
from services.alerts.evidence.store import head_of, links_of, unchained
from services.contracts.errors import Refused
from services.platform.database import make_operator_engine, transaction

JOBS = 2
SHOWN = 10


def check_files(directory: Path) -> Manifest:
    """Return the manifest of a backup when every file is as the manifest says.

    Raises:
        Refused: files are damaged or missing; the message names them.
    """
    manifest = store.manifest_of(directory)
    wrong = differences(manifest.files, {file.name: file for file in store.files_of(directory)})
    if wrong:
        raise Refused(f"{directory} is damaged: {'; '.join(wrong)}; use another backup")
    return manifest


def check_in_scratch(directory: Path, manifest: Manifest, url: URL, *, say: Say) -> None:
    """Restore into a scratch database on that server, compare it, and drop it.

    Raises:
        Refused: the restored database is not what was backed up.
    """
    with postgres.scratch_database(url) as scratch:
        program = program_for(scratch, "pg_restore")
        postgres.restore(program, directory / DUMP, scratch, options=[f"--jobs={JOBS}"], say=say)
        check_database(scratch, manifest, say=say)


def program_for(url: URL, name: str) -> Path:
    with transaction(make_operator_engine(url.render_as_string(hide_password=False), name="backup")) as found:
        return postgres.program(name, found)


def check_database(url: URL, manifest: Manifest, *, say: Say) -> None:
    """Compare the database with the manifest, before anything has written to it.

    Raises:
        Refused: the database differs from the manifest.
    """
    with transaction(
        make_operator_engine(url.render_as_string(hide_password=False), name="backup")
    ) as connection:
        found = postgres.facts(connection, say=say)
        wrong = disagreements(manifest.facts, found)
        wrong += _chain_faults(connection, manifest, say=say)
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise Refused(f"the restored data differ from the backup: {'; '.join(wrong[:SHOWN])}{more}")


def _chain_faults(connection: Connection, manifest: Manifest, *, say: Say) -> Iterator[str]:
    for head in manifest.facts.heads:
        say(f"checking the chain of tenant {head.tenant_id}")
        verifier = ChainVerifier(tenant_id=head.tenant_id)
        for batch in links_of(connection, head.tenant_id):
            for link in batch:
                yield from (f"tenant {head.tenant_id}: {fault}" for fault in verifier.step(link))

        yield from (
            f"tenant {head.tenant_id}: {f}" for f in verifier.end(head_of(connection, head.tenant_id))
        )
        if past := unchained(connection, head.tenant_id):
            yield f"tenant {head.tenant_id}: {past} rows of the timeline were written past the chain"
