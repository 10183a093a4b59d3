"""Evidence for users at a desk: the signed pack and its page in one answer."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

from eventlet import tpool

from services.alerts.evidence import html, store
from services.alerts.evidence import pack as evidence
from services.alerts.evidence.pack import CheckState, PackRows
from services.alerts.evidence.signing_key import signing_key
from services.contracts.errors import Misconfigured, Refused, Unavailable
from services.platform.database import Database

MAX_BYTES = 16 * 1024 * 1024
"""Largest evidence that an answer carries, in bytes. Larger evidence needs the command."""
NO_KEY = (
    "evidence is signed with the key of VIGIL_EVIDENCE_KEY_FILE, which the alerts service does not have: set it,"
    " or run `vigil alert export`"
)


class EvidenceExporter:
    """Exporter of evidence. `key_file` is empty when the operator alone has the key."""

    def __init__(self, database: Database, *, key_file: str) -> None:
        self._database = database
        self._key_file = key_file

    def export(self, alert_id: str, *, tenant_id: int, by: str, now: datetime) -> dict[str, Any]:
        """Return the signed evidence of an alert, with its page and its failed checks.

        Raises:
            NotFound: there is no such alert.
            Unavailable: there is no key.
            Refused: the evidence is too large.
        """
        if not self._key_file:
            raise Unavailable(NO_KEY)
        with self._database.of(tenant_id, snapshot=True) as connection:
            gathered = store.gather(
                connection, tenant_id=tenant_id, alert_id=alert_id, now=now, say=lambda _: None
            )
        # A long record takes seconds of pure computing. In a thread it delays no alarm.
        made: dict[str, Any] = tpool.execute(self._made, gathered, by, now)
        return made

    def _made(self, gathered: PackRows, by: str, now: datetime) -> dict[str, Any]:
        try:
            key = signing_key(Path(self._key_file))
        except (Misconfigured, OSError) as error:
            raise Unavailable(f"{error}; {NO_KEY}") from error

        pack = evidence.sign(evidence.build(gathered, made_by=by, now=now), key)
        data = evidence.file_bytes(pack)
        if len(data) > MAX_BYTES:
            raise Refused(
                f"the evidence has {len(data):,} bytes, more than a response can hold; run `vigil alert export`"
            )

        name, digest = f"evidence-{pack['alert']['alert_id']}", hashlib.sha256(data).hexdigest()
        failed = [check for check in evidence.check(pack) if check.state is CheckState.FAILED]
        return {
            "name": name,
            "json": data.decode(),
            "page": html.page(pack, json_name=f"{name}.json", json_sha256=digest),
            "sha256": digest,
            "fingerprint": pack["signature"]["fingerprint"],
            "faults": [f"{check.name}: {check.detail}" for check in failed],
        }
