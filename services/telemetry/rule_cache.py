"""Rules in force, compiled once for each tenant and site.

They follow the database within two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from services.ingestion.source_registry import SourceRegistry
from services.telemetry.rule_engine import Ruleset
from services.telemetry.rules import Rule, RuleOverride

log = structlog.get_logger(__name__)


class RuleCache:
    """Compiled rules: one book per process.

    `overrides` reads the overrides of a tenant. It is called again when the registry's version has
    grown.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        registry: SourceRegistry,
        overrides: Callable[[int], Sequence[RuleOverride]],
    ) -> None:
        self._rules = rules
        self._unchanged = Ruleset(rules)
        self._registry = registry
        self._overrides = overrides
        self._version: int | None = None
        self._of_tenant: dict[int, Sequence[RuleOverride]] = {}
        self._compiled: dict[tuple[int, int | None], Ruleset] = {}

    def of(self, tenant_id: int, site_id: int | None) -> Ruleset:
        """Return the rules for sources of this tenant and site. Raises `Unavailable`."""
        version = self._registry.check_version()
        if version != self._version:
            self._of_tenant.clear()
            self._compiled.clear()
            self._version = version

        known = self._compiled.get((tenant_id, site_id))
        if known is not None:
            return known

        overrides = self._of_tenant.get(tenant_id)
        if overrides is None:
            overrides = self._overrides(tenant_id)

        made = self._compile(tenant_id, site_id, overrides)
        if version == self._version:  # else another green thread saw a newer version meanwhile
            self._of_tenant[tenant_id] = overrides
            self._compiled[tenant_id, site_id] = made

        return made

    def _compile(self, tenant_id: int, site_id: int | None, overrides: Sequence[RuleOverride]) -> Ruleset:
        if not overrides:
            return self._unchanged
        if site_id is not None and all(override.site_id != site_id for override in overrides):
            return self._compiled.get((tenant_id, None)) or self._compile(tenant_id, None, overrides)
        made = Ruleset(self._rules, overrides, site_id=site_id)
        for fault in made.faults:
            log.error("rule_override_ignored", tenant_id=tenant_id, place=fault.place, problem=fault.problem)
        return made
