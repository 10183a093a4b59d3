"""SQL of rule overrides.

Each is checked, before it is kept, against the rules and the tenant's other overrides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, IntegrityError

from services.contracts.errors import Misconfigured, NotFound, Refused
from services.platform.database import Database
from services.telemetry.rules import Rule, RuleOverride, as_tree, check_override, faults_of

SELECT = text(
    "SELECT rule, change, site_id, source_type FROM rule_override WHERE tenant_id = :tenant_id"
    " ORDER BY rule, site_id NULLS FIRST, source_type NULLS FIRST"
)
PUT = text(
    "INSERT INTO rule_override (tenant_id, site_id, source_type, rule, change)"
    " VALUES (:tenant_id, :site_id, :source_type, :rule, CAST(:change AS jsonb))"
    " ON CONFLICT (tenant_id, site_id, source_type, rule) DO UPDATE SET change = excluded.change, changed_at = now()"
)
REMOVE = text(
    "DELETE FROM rule_override WHERE tenant_id = :tenant_id AND rule = :rule"
    " AND site_id IS NOT DISTINCT FROM CAST(:site_id AS int)"
    " AND source_type IS NOT DISTINCT FROM CAST(:source_type AS text)"
)


class OverrideStore:
    def __init__(self, database: Database, rules: Sequence[Rule]) -> None:
        self._database = database
        self._rules = rules

    def of_tenant(self, tenant_id: int) -> list[RuleOverride]:
        """Return a tenant's overrides, as the pipeline reads them."""
        with self._database.across() as connection:
            return _select(connection, tenant_id)

    def list_rules(self, tenant_id: int) -> list[dict[str, Any]]:
        """List each rule as config.yaml has it, followed by the tenant's overrides of it."""
        with self._database.of(tenant_id) as connection:
            overrides = _select(connection, tenant_id)
        return listed(self._rules, overrides)

    def put(self, wanted: RuleOverride, *, tenant_id: int) -> None:
        """Keep an override in the place of an earlier one. Raises `Refused`, `NotFound`."""
        wanted = _read(wanted)
        try:
            check_override(self._rules, wanted)
        except Misconfigured as error:
            raise Refused(str(error)) from error

        values = {
            "rule": wanted.rule,
            "change": msgspec.json.encode(wanted.change).decode(),
            "site_id": wanted.site_id,
            "source_type": wanted.source_type,
        }

        try:
            with self._database.of(tenant_id) as connection:
                others = [o for o in _select(connection, tenant_id) if o.place() != wanted.place()]
                connection.execute(PUT, {"tenant_id": tenant_id, **values})
                self._check(connection, tenant_id, wanted.rule, before=others)
        except (IntegrityError, DataError) as error:
            raise NotFound(f"no site {wanted.site_id} in tenant {tenant_id}") from error

    def remove(
        self, rule: str, *, tenant_id: int, site_id: int | None = None, source_type: str | None = None
    ) -> None:
        """Remove an override.

        Raises:
            NotFound: There is no such override.
            Refused: Overrides that build on it would no longer be sound.
        """
        named = _read(RuleOverride(rule=rule, change={}, site_id=site_id, source_type=source_type))
        values = {
            "tenant_id": tenant_id,
            "rule": named.rule,
            "site_id": named.site_id,
            "source_type": named.source_type,
        }

        missing = NotFound(f"rule {rule!r} has no override of {named.place()} in tenant {tenant_id}")
        try:
            with self._database.of(tenant_id) as connection:
                before = _select(connection, tenant_id)
                if connection.execute(REMOVE, values).rowcount == 0:
                    raise missing
                self._check(connection, tenant_id, rule, before=before)
        except DataError as error:  # the number of the site is out of range
            raise missing from error

    def _check(
        self, connection: Connection, tenant_id: int, rule: str, *, before: Sequence[RuleOverride]
    ) -> None:
        """Raise `Refused` for what was sound before the write and is not now.

        What a new config.yaml broke can still be mended. The check comes after the write. The
        trigger of the write holds the registry's version, so writers take turns and see each
        other's changes.
        """
        broken = faults_of(self._rules, _select(connection, tenant_id), rule)
        if new := sorted(broken - faults_of(self._rules, before, rule)):
            raise Refused(f"{new[0].problem} (for {new[0].place})")


def _read(given: RuleOverride) -> RuleOverride:
    """Check the types of an override that a caller gave. Raises `Refused`."""
    try:
        return msgspec.convert(msgspec.to_builtins(given), RuleOverride)
    except (msgspec.ValidationError, TypeError) as error:
        raise Refused(f"rule override: {error}") from error


def _select(connection: Connection, tenant_id: int) -> list[RuleOverride]:
    found = connection.execute(SELECT, {"tenant_id": tenant_id})
    return [RuleOverride(**row._mapping) for row in found]


def listed(rules: Sequence[Rule], overrides: Sequence[RuleOverride]) -> list[dict[str, Any]]:
    """List each rule as config.yaml has it, followed by its overrides.

    An override with a `fault` is left out somewhere.
    """
    found: list[dict[str, Any]] = []
    for rule in rules:
        settings = {name: value for name, value in as_tree(rule).items() if name != "name"}
        found.append(_row(rule.name, "config.yaml", settings))
        faults = dict(faults_of(rules, overrides, rule.name))
        found += [
            _row(rule.name, "override", override.change, override, faults.get(override.place()))
            for override in overrides
            if override.rule == rule.name
        ]

    return found


def _row(
    rule: str,
    where: str,
    settings: dict[str, Any],
    place: RuleOverride | None = None,
    fault: str | None = None,
) -> dict[str, Any]:
    return {
        "rule": rule,
        "from": where,
        "site_id": place.site_id if place else None,
        "source_type": place.source_type if place else None,
        "settings": settings,
        "fault": fault,
    }
