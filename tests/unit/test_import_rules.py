"""Tests of the layout: who may import what, and that every pure file has its test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted(p for top in ("services", "gateway", "ops", "bench") for p in (PROJECT / top).rglob("*.py"))
DOMAINS = {"directory", "telemetry", "location", "alerts", "notifications"}
PURE = {
    "gateway/mqtt/backlog.py",
    "gateway/mqtt/device_time.py",
    "gateway/mqtt/identity.py",
    "gateway/mqtt/link_state.py",
    "gateway/mqtt/payload_text.py",
    "gateway/mqtt/place.py",
    "gateway/mqtt/retained_positions.py",
    "gateway/mqtt/topics.py",
    "gateway/mqtt/unreadable.py",
    "gateway/mqtt/values.py",
    "gateway/mqtt/payloads.py",
    "gateway/mqtt/owntracks.py",
    "gateway/mqtt/batch.py",
    "gateway/mqtt/fair_queue.py",
    "gateway/mqtt/rate_limit.py",
    "gateway/mqtt/repeats.py",
    "gateway/mqtt/wire.py",
    "gateway/mqtt/rights.py",
    "gateway/noc/blindness.py",
    "gateway/noc/bundles.py",
    "gateway/noc/framing.py",
    "gateway/noc/outbox.py",
    "gateway/noc/proof.py",
    "gateway/noc/shown.py",
    "gateway/noc/api/operations.py",
    "gateway/noc/api/openapi.py",
    "gateway/noc/api/asyncapi.py",
    "gateway/noc/api/examples.py",
    "gateway/noc/frames.py",
    "gateway/noc/api/pages.py",
    "gateway/noc/api/place_shapes.py",
    "gateway/noc/api/places.py",
    "gateway/noc/api/shapes.py",
    "gateway/noc/api/table.py",
    "services/addresses.py",
    "services/alert_words.py",
    "services/apprise_urls.py",
    "services/bus/blame.py",
    "services/bus/pace.py",
    "services/bus/request_head.py",
    "services/bus/fair_turns.py",
    "services/bus/shards.py",
    "services/bus/taking_turns.py",
    "services/connection_counts.py",
    "services/envelope.py",
    "services/geometry_limits.py",
    "services/ingestion/clock_offset.py",
    "services/process_heartbeats.py",
    "services/schedules.py",
    "services/schema/differences.py",
    "services/sealed_values.py",
    "services/text_files.py",
    "services/watching.py",
    "services/location/zones.py",
    "services/location/plausibility.py",
    "services/location/scatter.py",
    "services/location/duties.py",
    "services/location/beliefs.py",
    "services/location/evidence.py",
    "services/location/verdict.py",
    "services/location/track.py",
    "services/location/repair.py",
    "services/location/repair_share.py",
    "services/location/conditions.py",
    "services/location/reasons.py",
    "services/location/newest.py",
    "services/location/battery.py",
    "services/location/two_devices.py",
    "services/location/frame_pace.py",
    "services/location/guard_clocks.py",
    "services/location/shifts.py",
    "services/location/search_area.py",
    "services/location/thinning.py",
    "services/location/zone_time.py",
    "services/location/trial.py",
    "services/raw_data.py",
    "services/retention/schedule.py",
    "services/directory/silence_limit.py",
    "services/telemetry/rules.py",
    "services/telemetry/findings.py",
    "services/telemetry/following.py",
    "services/telemetry/late_data.py",
    "services/alerts/lifecycle.py",
    "services/alerts/rota.py",
    "services/alerts/escalation.py",
    "services/alerts/timing.py",
    "services/alerts/intake.py",
    "services/alerts/people.py",
    "services/alerts/chain.py",
    "services/alerts/evidence.py",
    "services/alerts/evidence_page.py",
    "services/alerts/evidence_map.py",
    "services/alerts/markup.py",
    "services/notifications/settings.py",
    "services/notifications/plan.py",
    "services/notifications/outcome.py",
    "services/notifications/links.py",
    "services/notifications/looks.py",
    "services/notifications/replies.py",
    "services/notifications/seals.py",
    "services/notifications/wording.py",
    "services/notifications/sms.py",
    "services/notifications/templates.py",
    "services/notifications/shares.py",
    "services/outgoing/addresses.py",
    "services/outgoing/rules.py",
    "services/recipients.py",
    "services/directory/shapes.py",
    "services/directory/rings.py",
    "services/directory/crossing.py",
    "services/directory/drafts.py",
    "services/directory/features.py",
    "services/directory/letter_owners.py",
    "services/directory/geojson.py",
    "services/directory/kml.py",
    "services/directory/sources.py",
    "services/claims.py",
    "services/deploy.py",
    "services/secret_strength.py",
    "ops/privileges.py",
    "ops/redis_users.py",
    "services/paging.py",
    "services/origins.py",
    "services/poison.py",
    "services/peers.py",
    "services/periods.py",
    "services/token_buckets.py",
    "services/plain_xml.py",
    "ops/csv_tables.py",
    "ops/watchdog/balance.py",
    "ops/feed_filter.py",
    "ops/simulator.py",
    "ops/rehearsal.py",
    "ops/recordings/fixes.py",
    "ops/recordings/formats.py",
    "ops/recordings/gpx.py",
    "ops/recordings/warp.py",
    "ops/backup/manifest.py",
    "ops/rollback/loss.py",
    "bench/messages.py",
    "bench/growth.py",
    "bench/capacity.py",
    "bench/goals.py",
    "bench/peer/rows.py",
    "bench/shard_balance.py",
}
PURE_MAY_IMPORT = {
    "msgspec",
    "shapely",
    "cryptography",
    "services.addresses",
    "services.alert_words",
    "services.apprise_urls",
    "services.messages",
    "services.outgoing.addresses",
    "services.outgoing.rules",
    "services.errors",
    "services.geometry_limits",
    "services.config",
    "services.envelope",
    "services.claims",
    "services.recipients",
    "services.bus.shards",
    "services.schedules",
    "services.ingestion.clock_offset",
    "services.plain_xml",
    "services.process_heartbeats",
    "services.text_files",
    "ops.csv_tables",
    # These are pure themselves. Other rules above forbid imports between domains, and of the
    # gateway by services.
    "gateway.mqtt.device_time",
    "gateway.mqtt.identity",
    "gateway.mqtt.link_state",
    "gateway.mqtt.owntracks",
    "gateway.mqtt.payload_text",
    "gateway.mqtt.payloads",
    "gateway.mqtt.place",
    "gateway.mqtt.topics",
    "gateway.mqtt.unreadable",
    "gateway.mqtt.values",
    "services.ingestion",
    "services.telemetry.findings",
    "services.telemetry.following",
    "services.telemetry.late_data",
    "gateway.noc.api.operations",
    "gateway.noc.api.shapes",
    "gateway.noc.blindness",
    "gateway.noc.frames",
    "services.source_status",
}
IMPURE_STANDARD = {"time", "os", "logging", "socket", "secrets", "uuid", "subprocess", "threading", "pathlib"}
IMPURE_LIBRARIES = {"requests", "eventlet", "sqlalchemy", "structlog", "redis", "kombu", "nameko"}
OF_THE_CLOCK = {"now", "utcnow", "today"}
PURE_SENTENCE = re.compile(r"(?<=[.?!] )Pure[.:]")
"""The sentence that declares a module pure.

With a colon, time and identity come in as arguments.
"""
ONLY_IN = {
    "nameko": ("services/bus/", "ops/run.py", "ops/topology.py", "bench/naive.py"),
    "paho": ("gateway/mqtt/client.py", "bench/naive.py"),
    "vigil_device": ("ops/simulated_phones.py",),
    "redis": (
        "services/redis_client.py",
        "services/feed.py",
        "gateway/noc/limits.py",
        "gateway/noc/quotas.py",
        "gateway/noc/tickets.py",
        "gateway/noc/api/idempotency.py",
        "ops/dependencies.py",
        "ops/watchdog/standing.py",
    ),
    "jwt": ("gateway/noc/auth.py",),
    "argon2": ("services/directory/passwords.py",),
    "wsproto": ("gateway/noc/framing.py",),
    "requests": (
        "services/outgoing/client.py",
        # The client's errors, and the objects that plugins get in its place.
        "services/notifications/channels/web.py",
        "services/notifications/channels/fcm.py",
        "services/notifications/channels/anywhere.py",
    ),
    "urllib3": ("services/outgoing/client.py",),
    "urllib.request": ("ops/health.py", "ops/alive.py"),
    "http.client": ("ops/servers.py",),
    "aio_pika": ("bench/peer/gateway.py", "bench/peer/store.py"),
    "aiomqtt": ("bench/peer/gateway.py", "bench/peer/store.py"),
    "asyncpg": ("bench/peer/store.py",),
    "uvloop": ("bench/peer/gateway.py", "bench/peer/store.py"),
    "websockets": ("bench/peer/store.py",),
    "twilio": (),
    "httpx": (),
    "aiohttp": (),
    "firebase_admin": (),
    "smtplib": ("services/notifications/channels/smtp.py",),
    "google": ("services/notifications/channels/fcm.py",),
    "apprise": ("services/notifications/channels/anywhere.py",),
    "pybreaker": ("services/notifications/circuit.py",),
    "tenacity": ("services/notifications/delivery.py",),
    "jinja2": ("services/notifications/templates.py",),
    "phonenumbers": ("services/recipients.py",),
}


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_whole(path: Path, module: str) -> bool:
    """Return whether a file has `import uuid`, which gives access to everything in the module."""
    return any(
        alias.name == module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_imports_only_what_its_kind_may(path: Path) -> None:
    name, imports = name_of(path), set(imports_of(path))
    for library, homes in ONLY_IN.items():
        used = any(i == library or i.startswith(f"{library}.") for i in imports)
        assert not used or name.startswith(homes), f"{library} is imported outside of {homes}"
    if name.startswith("services/"):
        assert not any(i.split(".")[0] in ("gateway", "ops", "bench") for i in imports)
        domain = name.split("/")[1]
        others = {f"services.{other}" for other in DOMAINS - {domain}}
        if domain in DOMAINS:
            assert not any(i.startswith(tuple(others)) for i in imports), "a domain imports another"
    if name.startswith("gateway/"):
        assert not any(i.split(".")[0] in ("ops", "bench") for i in imports)
    if name not in ("services/providers.py", "migrations/env.py") and not name.startswith(
        ("bench/", "ops/commands/migrate")
    ):
        assert "sqlalchemy.create_engine" not in imports


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith("bench/peer/")], ids=name_of)
def test_the_plain_peer_of_the_bench_uses_nothing_of_vigil_s(path: Path) -> None:
    tops = ("services", "gateway", "ops", "bench", "vigil_device")
    own = {i for i in imports_of(path) if i.split(".")[0] in tops}
    assert all(i.startswith("bench.peer.") for i in own), own


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_file_has_no_clock_no_chance_and_no_wire(name: str) -> None:
    for imported in imports_of(PROJECT / name):
        top = imported.split(".")[0]
        # The type of an identity is not an identity. The module's own name comes with it.
        if top != "uuid" or imported not in ("uuid", "uuid.UUID") or imports_whole(PROJECT / name, "uuid"):
            assert top not in IMPURE_STANDARD | IMPURE_LIBRARIES, f"{name} imports {imported}"
        if top in ("services", "gateway", "ops"):
            folder = name.rsplit("/", 1)[0].replace("/", ".")
            assert imported.startswith((*PURE_MAY_IMPORT, folder)), f"{name} imports {imported}"


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_file_reads_no_clock(name: str) -> None:
    for node in ast.walk(ast.parse((PROJECT / name).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in OF_THE_CLOCK, f"{name}, line {node.lineno}: {node.func.attr}()"


def says_that_it_is_pure(path: Path) -> bool:
    return PURE_SENTENCE.search(ast.get_docstring(ast.parse(path.read_text())) or "") is not None


def test_what_says_that_it_is_pure_is_held_to_it_and_all_of_it_is_there() -> None:
    saying = {name_of(path) for path in SOURCES if says_that_it_is_pure(path)}
    assert len(saying) > 30
    assert saying - PURE == set()
    assert {name for name in PURE if not (PROJECT / name).exists()} == set()


def test_every_file_that_may_import_a_library_is_there_and_does() -> None:
    for library, homes in ONLY_IN.items():
        for home in homes:
            files = [path for path in SOURCES if name_of(path).startswith(home)]
            used = {imported for path in files for imported in imports_of(path)}
            assert any(i == library or i.startswith(f"{library}.") for i in used), (
                f"{home} does not import {library}"
            )


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_file_has_its_test(name: str) -> None:
    path = Path(name)
    assert (PROJECT / "tests" / "unit" / path.parent / f"test_{path.name}").exists()


def test_the_project_speaks_of_itself_alone() -> None:
    forbidden = ["/work/" + "main", "../" + "shared", "pypi." + "org", "registry.npmjs" + ".org"]
    skip = {
        "__pycache__",
        "vigil.egg-info",
        ".venv",
        ".venv-peer",
        ".vigil",
        ".git",
        "node_modules",
        ".ruff_cache",
        ".mypy_cache",
        ".hypothesis",
    }
    for path in PROJECT.rglob("*"):
        if path.is_file() and not skip & set(path.relative_to(PROJECT).parts) and path.suffix != ".png":
            text = path.read_text(errors="replace")
            assert not any(word in text for word in forbidden), f"{name_of(path)} speaks of the workplace"
