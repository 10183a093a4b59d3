"""Import and export of zones: each feature becomes a zone, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection

from services.contracts.errors import Conflict, NotFound, Refused, TooMany
from services.directory.zones.store import ZoneStore, drafted
from services.geofencing.files import features, geojson, kml
from services.geofencing.files.features import Feature, without_twins
from services.geofencing.rings import as_text
from services.geofencing.validation import changed, draft_of
from services.platform.files.text_files import check_not_binary, first_text

Format = Literal["geojson", "kml"]
FORMATS: tuple[Format, ...] = ("geojson", "kml")
BATCH = 100
"""Zones in one transaction."""


class FeatureOutcome(msgspec.Struct, kw_only=True):
    """Outcome of a feature: `added`, `changed`, `unchanged`, `refused` or `left`.

    A feature is `left` when others were refused and the import was to be all or nothing.
    """

    index: int
    name: str
    outcome: str
    reason: str = ""
    zone_id: int | None = None
    version: int | None = None
    ignored: tuple[str, ...] = ()


class RollbackSignal(Exception):  # noqa: N818 - not an error: how a transaction is left without a trace
    """Signal that rolls a transaction back."""


def read(document: str | bytes, *, format: str | None = None) -> list[Feature]:  # noqa: A002 - its name on the wire
    """Return the features of a file. Raises `Refused`.

    Without a named format, the beginning of the file decides.
    """
    features.check_size(document)
    check_not_binary(document, save_as="GeoJSON or KML")
    guessed = "kml" if first_text(document).startswith("<") else "geojson"
    found = kml.read(document) if check_format(format or guessed) == "kml" else geojson.read(document)
    return without_twins(found)


def write(zones: Iterable[Mapping[str, Any]], *, format: str) -> bytes:  # noqa: A002
    """Return a file of zones as `ZoneStore.export` gives them. Raises `Refused`."""
    return kml.write(zones) if check_format(format) == "kml" else geojson.write(zones)


def check_format(value: object) -> Format:
    """Return a known format. Raises `Refused` for any other."""
    for known in FORMATS:
        if value == known:
            return known
    raise Refused(f"format is {as_text(value)}; it must be one of {', '.join(FORMATS)}")


class ZoneImport:
    """Import of features into a tenant.

    Args:
        update: change zones of the same names; otherwise only equal zones are accepted.
        whole: import all features or none.
        dry: import nothing, and only return the outcomes.
    """

    def __init__(
        self,
        store: ZoneStore,
        *,
        tenant_id: int,
        by: str,
        update: bool = False,
        whole: bool = False,
        dry: bool = False,
    ) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._judge = store.judge_of(tenant_id)
        self._by = by
        self._update = update
        self._whole = whole
        self._dry = dry
        self._names = store.names(tenant_id=tenant_id)

    def run(
        self, features: list[Feature], *, say: Callable[[int], None] = lambda _: None
    ) -> list[FeatureOutcome]:
        """Return the outcome of each feature. `say` is called with the number so far."""
        outcomes: list[FeatureOutcome] = []
        size = max(len(features), 1) if self._whole else BATCH
        for start in range(0, len(features), size):
            self._batch(features[start : start + size], outcomes, say)
        return outcomes

    def _batch(
        self, features: Iterable[Feature], outcomes: list[FeatureOutcome], say: Callable[[int], None]
    ) -> None:
        try:
            with self._store.transaction(self._tenant_id) as connection:
                for feature in features:
                    outcomes.append(self._take(connection, feature))
                    say(len(outcomes))
                self._undo_if_meant(outcomes)
        except RollbackSignal:
            if not self._dry:
                _leave(outcomes)

    def _undo_if_meant(self, outcomes: list[FeatureOutcome]) -> None:
        if self._dry or (self._whole and any(outcome.outcome == "refused" for outcome in outcomes)):
            raise RollbackSignal

    def _take(self, connection: Connection, feature: Feature) -> FeatureOutcome:
        outcome = FeatureOutcome(
            index=feature.index, name=feature.name, outcome="refused", ignored=feature.ignored
        )
        if feature.reason:
            outcome.reason = feature.reason
            return outcome

        try:
            with connection.begin_nested():
                outcome.outcome, row = self._put(connection, resolved(feature.fields, self._names))
        except TooMany:  # not about the feature: the whole call must be made again
            raise
        except Refused as error:
            outcome.reason = str(error)
            return outcome

        if not self._dry:
            outcome.zone_id, outcome.version = row["zone_id"], row["version"]

        return outcome

    def _put(self, connection: Connection, fields: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        row = self._store.find(connection, fields["name"], tenant_id=self._tenant_id)
        if row is None:
            draft = self._judge(draft_of, fields)
            return "added", self._store.insert(connection, draft, tenant_id=self._tenant_id, by=self._by)

        old = drafted(row)
        if not self._judge(changed, old, fields).differs_from(old):
            return "unchanged", row._mapping
        if not self._update:
            raise Conflict(
                "a zone of that name exists already, and differs; use --update (`update`) to change it"
            )

        return "changed", self._store.update(connection, row, fields, by=self._by)


def resolved(fields: Mapping[str, Any], ids: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return a feature's fields with ids in place of names. Raises `NotFound`."""
    found = {name: value for name, value in fields.items() if name not in ("site", "group", "guard")}
    for kind, known in ids.items():
        if kind in fields:
            name = fields[kind]
            if name is not None and name not in known:
                raise NotFound(
                    f"{kind} is {as_text(name)}, which this tenant does not have; `vigil {kind} add` adds one"
                )
            found[f"{kind}_id"] = None if name is None else known[name]

    if "guard" in fields:
        found["guard_id"] = fields["guard"]

    return found


def _leave(outcomes: list[FeatureOutcome]) -> None:
    """Mark the valid features of an import that was rolled back because of the others."""
    for outcome in outcomes:
        if outcome.outcome != "refused":
            outcome.outcome, outcome.zone_id, outcome.version = "left", None, None
            outcome.reason = "other features were refused, and all or nothing was requested"
