"""Preview of an import of zones. It only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from services.contracts.errors import Refused, TooMany
from services.directory.zones.import_export import resolved
from services.directory.zones.store import GET, FunctionRunner, ZoneStore, at_once, drafted
from services.geofencing.files.features import Feature
from services.geofencing.validation import ZoneDraft, changed, draft_of

TIME_ZONES = text("SELECT site_id, time_zone FROM site WHERE tenant_id = :tenant_id")
GUARD = text("SELECT 1 FROM guard WHERE tenant_id = :tenant_id AND guard_id = :guard_id")
NAMED_REFUSALS = 3


class ZoneEdit(msgspec.Struct, frozen=True, kw_only=True):
    """Effect of a feature: its `outcome` is `new`, `changed`, `unchanged` or `refused`.

    Attributes:
        zone_id: None for a new zone.
        zone: the fields of the resulting zone, with `version` and `time_zone`; None for a refused
            feature.

    `area` in `zone` is WKB in hex digits.
    """

    index: int
    name: str
    outcome: str
    reason: str = ""
    zone_id: int | None = None
    zone: dict[str, Any] | None = None


class ZoneEdits:
    """Preview of the features of one file, one by one."""

    def __init__(
        self,
        connection: Connection,
        names: Mapping[str, Mapping[str, int]],
        *,
        tenant_id: int,
        judge: FunctionRunner = at_once,
    ) -> None:
        self._connection = connection
        self._judge = judge
        self._tenant_id = tenant_id
        self._names = names
        rows = connection.execute(TIME_ZONES, {"tenant_id": tenant_id})
        self._time_zones: dict[int, str] = {row.site_id: row.time_zone for row in rows}

    def take(self, feature: Feature) -> ZoneEdit:
        if feature.reason:
            return ZoneEdit(index=feature.index, name=feature.name, outcome="refused", reason=feature.reason)
        try:
            return self._edit(feature)
        except TooMany:  # an error that is not about the feature
            raise
        except Refused as error:
            return ZoneEdit(index=feature.index, name=feature.name, outcome="refused", reason=str(error))

    def _edit(self, feature: Feature) -> ZoneEdit:
        fields = resolved(feature.fields, self._names)
        values = {"tenant_id": self._tenant_id, "name": fields["name"]}

        row = self._connection.execute(GET, values).one_or_none()
        if row is None:
            draft, outcome, version = self._judge(draft_of, fields), "new", 1
        else:
            old = drafted(row)
            draft = self._judge(changed, old, fields)
            outcome = "changed" if draft.differs_from(old) else "unchanged"
            version = row.version + (outcome == "changed")

        self._check(draft)
        return ZoneEdit(
            index=feature.index,
            name=draft.name,
            outcome=outcome,
            zone_id=None if row is None else row.zone_id,
            zone=self._shown(draft, version),
        )

    def _check(self, draft: ZoneDraft) -> None:
        """Check the constraints that the database would check in an import. Raises `Refused`."""
        if draft.guard_id is None:
            return
        values = {"tenant_id": self._tenant_id, "guard_id": draft.guard_id}
        if self._connection.execute(GUARD, values).first() is None:
            raise Refused("guard is not a guard of this tenant; `vigil guard list` shows them")

    def _shown(self, draft: ZoneDraft, version: int) -> dict[str, Any]:
        return {
            **draft.columns(),
            "area": draft.columns()["area"].hex(),
            "schedule": draft.schedule,
            "confirmation": draft.confirmation,
            "version": version,
            "time_zone": self._time_zones.get(draft.site_id or 0, "UTC"),
        }


def edits_of(store: ZoneStore, features: Sequence[Feature], *, tenant_id: int) -> list[ZoneEdit]:
    """Return the effect of each feature.

    The features have unique names, as from `zone_files.read`.
    """
    names = store.names(tenant_id=tenant_id)
    with store.transaction(tenant_id) as connection:
        edits = ZoneEdits(connection, names, tenant_id=tenant_id, judge=store.judge_of(tenant_id))
        return [edits.take(feature) for feature in features]


def check_edits(edits: Sequence[ZoneEdit]) -> None:
    """Check that no feature is refused: half of a file proves nothing.

    Raises:
        Refused: features are refused. The text names them.
    """
    wrong = [edit for edit in edits if edit.outcome == "refused"]
    if wrong:
        named = "; ".join(
            f"feature {edit.index} ({edit.name or 'no name'}): {edit.reason}"
            for edit in wrong[:NAMED_REFUSALS]
        )
        more = f"; and {len(wrong) - NAMED_REFUSALS} more" if len(wrong) > NAMED_REFUSALS else ""
        raise Refused(named + more)

    if not edits:
        raise Refused("the file has no features; it needs the zones that are to be tried")
