"""`vigil rules`: rules that raise alerts, overrides by tenants and sites, and trials.

A trial runs sample messages through the rules.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from gateway.mqtt.decoding.payloads import PayloadLimits
from ops.commands.options import site_option, tenant_option
from ops.environment import apply_environment
from ops.input_output.input_files import INPUT_FILE, read_text
from ops.input_output.tables import as_json_option, show
from ops.simulation.rule_trial import LineResult, RuleRehearsal, RulesOf
from services.contracts.enum_words import inside
from services.contracts.errors import Refused
from services.directory.registry.store import MAX_LISTED, DirectoryStore
from services.platform import config
from services.platform.config import Config
from services.platform.database import Database
from services.telemetry.overrides import OverrideStore, listed
from services.telemetry.rule_engine import Ruleset
from services.telemetry.rules import CHANGEABLE, Rule, RuleOverride, parse_rules

overridden = click.option("--tenant", "tenant_id", type=int, help="With this tenant's overrides (database).")
json_object = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
source_type_option = click.option(
    "--source-type", help="Only for this kind (device, sensor, system) or sensor type (SMOKE ...)."
)


@click.group()
def rules() -> None:
    """Rules that raise alerts from readings."""
    apply_environment()


@rules.command("list")
@overridden
@as_json_option
def list_rules(tenant_id: int | None, as_json: bool) -> None:
    """List the rules of config.yaml, each followed by the tenant's overrides of it."""
    settings, declared = _declared()
    if tenant_id is None:
        found = listed(declared, ())
    else:
        found = OverrideStore(_database(settings), declared).list_rules(tenant_id)
    show(found if as_json else [_shown(row) for row in found], as_json=as_json)


@rules.command("set")
@click.argument("rule")
@click.argument("changes", nargs=-1, required=True, metavar="SETTING=VALUE ...")
@tenant_option
@site_option
@source_type_option
@json_object
def set_rule(
    rule: str,
    changes: tuple[str, ...],
    tenant_id: int,
    site_id: int | None,
    source_type: str | None,
    as_json: bool,
) -> None:
    """Change a rule for a tenant, a site or a kind of source.

    It is in force within two seconds, and replaces what was set there before. Lists are separated
    by commas. `null` takes a setting away.
    """
    settings, declared = _declared()
    override = RuleOverride(
        rule=rule, change=dict(map(_change, changes)), site_id=site_id, source_type=source_type
    )
    OverrideStore(_database(settings), declared).put(override, tenant_id=tenant_id)
    if as_json:
        click.echo(msgspec.json.encode({"tenant_id": tenant_id, **msgspec.structs.asdict(override)}))
    else:
        click.echo(f"rule {rule} is changed for {override.place()} (tenant {tenant_id})")


@rules.command("remove")
@click.argument("rule")
@tenant_option
@site_option
@source_type_option
@json_object
def remove(rule: str, tenant_id: int, site_id: int | None, source_type: str | None, as_json: bool) -> None:
    """Take an override back; in force within two seconds."""
    settings, declared = _declared()
    place = {"site_id": site_id, "source_type": source_type}
    OverrideStore(_database(settings), declared).remove(rule, tenant_id=tenant_id, **place)  # type: ignore[arg-type]
    if as_json:
        click.echo(msgspec.json.encode({"tenant_id": tenant_id, "rule": rule, **place}))
    else:
        click.echo(f"rule {rule}: the override is removed (tenant {tenant_id})")


@rules.command("test")
@click.argument("file", type=INPUT_FILE)
@overridden
@click.option(
    "--site",
    "site_id",
    type=int,
    help="As if all sources were at this site; if left out, the site of each source.",
)
@as_json_option
def test(file: Path, tenant_id: int | None, site_id: int | None, as_json: bool) -> None:
    """Run sample messages through decoder and rules.

    Says what each would raise. Nothing is sent or stored. FILE (- for standard input) has one JSON
    object a line: {"topic": ..., "payload": {...}, "at": RFC 3339}. `at` is when the message comes
    in; now when it is left out. Exit code 1 when a line is refused.
    """
    samples = read_text(file, standard_input=True).encode().splitlines()
    settings, declared = _declared()

    if site_id is not None and tenant_id is None:
        raise Refused("--site is a site of a tenant: give --tenant too")

    rules_of = _rules_of(settings, declared, tenant_id, site_id)
    gateway = settings.gateway
    limits = PayloadLimits(
        max_payload_bytes=gateway.max_payload_bytes,
        max_depth=gateway.max_depth,
        max_clock_ahead_s=gateway.max_clock_ahead_s,
        max_clock_age_s=gateway.max_clock_age_s,
    )

    lines = list(RuleRehearsal(rules_of, limits=limits, now=datetime.now(UTC)).run(samples))
    if as_json:
        click.echo(msgspec.json.encode(lines))
    else:
        for line in lines:
            click.echo(_sentence(line).encode("unicode_escape").decode())

    sys.exit(1 if any(line.outcome == "refused" for line in lines) else 0)


def _declared() -> tuple[Config, tuple[Rule, ...]]:
    settings = config.load()
    return settings, parse_rules(settings.rules)


def _database(settings: Config) -> Database:
    return Database(settings, name="cli", pool_size=1, as_owner=True)


def _rules_of(
    settings: Config, declared: Sequence[Rule], tenant_id: int | None, site_id: int | None
) -> RulesOf:
    if tenant_id is None:
        unchanged = Ruleset(declared)
        return lambda _: unchanged
    database = _database(settings)
    overrides = OverrideStore(database, declared).of_tenant(tenant_id)
    devices = DirectoryStore(database).list_rows("device", tenant_id=tenant_id, limit=MAX_LISTED)
    sites = {device["device_id"]: device["site_id"] for device in devices}
    compiled = cache(lambda site: Ruleset(declared, overrides, site_id=site))
    return lambda source_id: compiled(site_id if site_id is not None else sites.get(source_id))


def _change(text: str) -> tuple[str, Any]:
    """Return setting and value of a change such as `raise_below=30`."""
    name, equals, value = text.partition("=")
    if not equals or name not in CHANGEABLE:
        raise Refused(f"{text!r}: write SETTING=VALUE; these can be changed: {', '.join(CHANGEABLE)}")
    if value == "null":
        return name, None
    if name == "message":
        return name, value
    if name in ("states", "clear_states"):
        return name, [word.strip() for word in value.strip("[] ").split(",") if word.strip()]

    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise Refused(f"{name}: {value!r} cannot be read") from error


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a rule or override as a row of the printed table."""
    settings = row["settings"]
    field = settings.get("field", "")

    def conditions(thresholds: dict[str, str], states: str) -> str | None:
        given = {sign: settings[name] for name, sign in thresholds.items() if name in settings}
        parts = [f"{field} {sign} {value:g}".strip() for sign, value in given.items() if value is not None]
        return " or ".join([*parts, *(settings.get(states) or ())]) or None

    return {
        "rule": row["rule"],
        "from": row["from"],
        "site": row["site_id"],
        "source": row["source_type"] or settings.get("type") or settings.get("source"),
        "alert": settings.get("alert"),
        "raises": conditions({"raise_below": "<", "raise_above": ">"}, "states"),
        "clears": conditions({"clear_from": ">=", "clear_at_most": "<="}, "clear_states"),
        "severity": settings.get("severity"),
        "hold_s": settings.get("hold_s"),
        "enabled": settings.get("enabled"),
        "fault": row["fault"],
    }


def _sentence(line: LineResult) -> str:
    """Return the result of a line as one line of text."""
    start = f"line {line.line}: " + (f"{line.source_id}: " if line.source_id else "")
    if line.outcome == "refused":
        return f"{start}refused: {line.reason}: {line.detail}"

    flagged = f" (not believed: {', '.join(line.quality)})" if line.quality else ""
    if line.outcome != "judged":
        return f"{start}{line.outcome.replace('_', ' ')}: {line.detail}{flagged}"

    said = []
    for judged in line.rules:
        if judged.told == "met":
            verb = "raises" if judged.raises else "repeats"
            said.append(
                f"{judged.rule} met, {verb} {inside(judged.alert_type)},"
                f" severity {inside(judged.severity)}: {judged.message}"
            )
        else:
            said.append(f"{judged.rule} {judged.told or judged.stage}")

    return start + ("; ".join(said) or "no rule applies") + flagged
