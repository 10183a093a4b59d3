from types import SimpleNamespace
from typing import Any, cast

from services.ingestion.source_registry import SourceRegistry
from services.telemetry.rule_cache import RuleCache
from services.telemetry.rules import Rule, RuleOverride

BATTERY = Rule.parse(
    {"name": "battery", "source": "device", "field": "battery", "raise_below": 20, "alert": "LOW_BATTERY"}
)
AT_SITE = RuleOverride(rule="battery", change={"raise_below": 50}, site_id=7)


class Asked:
    """A registry whose version the test sets, and a database that counts its queries."""

    def __init__(self, *overrides: RuleOverride) -> None:
        self.version = 1
        self.overrides = list(overrides)
        self.tenants: list[int] = []
        registry = cast(SourceRegistry, SimpleNamespace(check_version=lambda: self.version))
        self.book = RuleCache([BATTERY], registry, self.read)

    def read(self, tenant_id: int) -> list[RuleOverride]:
        self.tenants.append(tenant_id)
        return list(self.overrides)


def test_a_tenant_s_overrides_are_read_once_for_all_its_sites() -> None:
    asked = Asked(AT_SITE)
    rulesets = [asked.book.of(1, site) for site in (None, 7, 8, 9, None, 7)]
    assert asked.tenants == [1]
    assert rulesets[1] is rulesets[5]
    assert rulesets[0] is rulesets[2] is rulesets[3]
    assert rulesets[1] is not rulesets[0]


def test_they_are_read_again_when_the_registry_changed() -> None:
    asked = Asked()
    before = asked.book.of(1, 7)
    asked.overrides.append(AT_SITE)
    assert asked.book.of(1, 7) is before
    asked.version = 2
    assert asked.book.of(1, 7) is not before
    assert asked.tenants == [1, 1]


def test_what_was_read_while_the_registry_changed_is_not_kept() -> None:
    asked = Asked()

    def read_slowly(tenant_id: int) -> list[RuleOverride]:
        found = asked.read(tenant_id)
        if asked.version == 1:
            asked.version = 2
            asked.book.of(2, None)  # another green thread, which sees the new version
        return found

    asked.book._overrides = read_slowly
    asked.book.of(1, None)
    asked.book.of(1, None)
    assert asked.tenants == [1, 2, 1]


def test_an_override_that_cannot_work_leaves_the_rule_as_it_was() -> None:
    broken: dict[str, Any] = {"clear_from": 5}
    asked = Asked(RuleOverride(rule="battery", change=broken))
    assert [fault.place for fault in asked.book.of(1, None).faults] == ["the tenant"]
