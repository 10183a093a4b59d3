"""Tests of the pages that add a field, a family, an alert type and a retention class.

The code of the pages is put into a copy of the project, and the copy is asked what follows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.environment import PROJECT

HOWTO = PROJECT / "docs" / "howto"
PAGES = [
    "add-a-telemetry-field.md",
    "add-a-topic-family.md",
    "add-an-alert-type.md",
    "add-a-retention-class.md",
]
MOST_FILES = {
    "add-a-telemetry-field.md": 3,
    "add-a-topic-family.md": 6,
    "add-an-alert-type.md": 2,
    "add-a-retention-class.md": 3,
}
"""Most files of the product that a page may ask to change."""
WRITTEN = "services/platform/schema/expected.json"
"""File that a command writes."""
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`((?:services|migrations|ops|tests|docs)/[\w/.]+\.(?:py|md|json|sha256))`")
NAME = re.compile(r"`([A-Z]\w+|_[A-Z]+|vigil_retention_classes)`")
ASK = """
import json
from datetime import UTC, datetime
from ops.commands.messages.latest import query_for
from gateway.mqtt import access_control
from gateway.mqtt.decoding import payloads, topics
from gateway.noc.api import asyncapi
from ops.servers.privileges import PRIVILEGES
from services.contracts.alert_words import alert_type
from services.contracts.events import DEFAULT_SEVERITY
from services.ingestion import raw_data
from services.notifications.texts.translations import fixed_words
from services.platform import config
from services.retention.schedule import check_policy, usual_days
from services.telemetry import history, offline, rules, store
from services.telemetry.service import TelemetryService
from services.contracts.families import BY_WORD
from services.directory.registry.source_ids import FAMILIES

NOW = datetime(2026, 1, 5, 21, 14, 3, tzinfo=UTC)

def read(topic, **fields):
    message = payloads.decode(
        topic, topics.parse(topic), json.dumps(fields).encode(), received_at=NOW,
        limits=payloads.PayloadLimits(), fresh_key=lambda: b"k" * 16,
    )
    kept = raw_data.to_keep(BY_WORD[topic.split("/")[0]].source_column, message.origin)
    return {name: getattr(message, name) for name in fields} | {
        "quality": message.origin.quality, "source": message.origin.source_id, "kept": kept
    }

document = asyncapi.document(version="x")
settings = config.parse(open("config.yaml").read(), {})
check_policy("vehicles", 7)
humid = {"type": "HUMIDITY", "value": 1}
vehicle = BY_WORD["vehicle"]
print(json.dumps({
    "humidity": read("sensor/s-1/reading", **humid, humidity_pct=61.5),
    "too_humid": read("sensor/s-1/reading", **humid, humidity_pct=161.5),
    "rule": rules.KINDS["sensor"].numbers,
    "latest": query_for("sensor"),
    "history": str(history._readings_of(BY_WORD["sensor"])),
    "schemas": document["components"]["schemas"],
    "channels": document["channels"],
    "vehicle": read("vehicle/v-1/status", fuel=40.0, speed=2.5, engine="running"),
    "filters": topics.FILTERS["bulk"],
    "acl": access_control.acl_file("", anonymous=False).splitlines(),
    "roles": [role["rolename"] for role in access_control.roles("")],
    "vehicles_latest": query_for("vehicle"),
    "families": FAMILIES,
    "limits": offline.limits_of(settings.location),
    "rights": PRIVILEGES["telemetry"].tables["ingest"][vehicle.table],
    "handler": callable(getattr(TelemetryService, vehicle.handler)),
    "states": sorted(rules.KINDS["vehicle"].states),
    "alert": [alert_type("fuel-theft"), topics.parse("alert/fuel_theft/v-1").detail],
    "severity": DEFAULT_SEVERITY[alert_type("fuel-theft")],
    "hindi": fixed_words("hi")["FUEL_THEFT"],
    "days": usual_days(settings)["vehicles"],
}))
"""


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the blocks of code of a page, in its order."""
    return [
        re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        for indent, kind, code in FENCE.findall((HOWTO / page).read_text())
        if kind == language
    ]


def put(project: Path, name: str, code: str, *, before: str) -> None:
    """Put code into a file of the copy, before a text that it has once."""
    path = project / name
    text = path.read_text()
    assert text.count(before) == 1, f"{name} has {text.count(before)} places for {code[:40]!r}"
    path.write_text(text.replace(before, code + before))


@pytest.fixture(scope="module")
def follows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what follows from the pages' code in a copy of the project."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("services", "gateway", "ops"):
        shutil.copytree(PROJECT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "config.yaml", copy)

    table, service = "services/contracts/families.py", "services/telemetry/service.py"
    [field, *_] = blocks("add-a-telemetry-field.md")
    word, message, row, handler = blocks("add-a-topic-family.md")
    put(copy, table, field, before="\n\nclass HealthReading(")
    put(copy, table, word, before="\n\nDeviceFamily = ")
    put(copy, table, ', "vehicle"', before=']\n"""Families of sources that are registered')
    put(copy, table, message + "\n\n", before="Reading = DeviceReading")
    put(copy, table, " | VehicleReading", before='\n"""Messages that the telemetry service stores.')
    put(copy, table, row, before="\nFAMILIES: tuple")
    put(copy, table, ", VEHICLE", before=")\nBY_WORD")
    put(copy, service, handler + "\n", before='    @event_handler("mqtt_gateway", "message_rejected"')
    put(copy, service, "    VEHICLE,\n    VehicleReadingBatch,\n", before="    BatchedFamily,\n")
    [days] = blocks("add-a-retention-class.md")
    put(copy, "services/contracts/retention_classes.py", days, before="\n\nTENANT_CLASSES")
    kind, hindi = blocks("add-an-alert-type.md")
    put(copy, "services/contracts/events.py", kind, before="\n\nclass Severity(")
    put(copy, "services/notifications/texts/translations.py", hindi, before="    },\n}  # fmt")

    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_files_and_names_of_a_page_are_there(page: str) -> None:
    text = (HOWTO / page).read_text()
    files = {name for name in FILE.findall(text) if "NNNN" not in name}
    assert {name for name in files if not (PROJECT / name).exists()} == set()
    sources = "".join((PROJECT / name).read_text() for name in files if name.endswith(".py"))
    own = set(re.findall(r"\b[A-Z]\w+", " ".join(blocks(page))))
    assert {name for name in NAME.findall(text) if not re.search(rf"\b{name}\b", sources)} <= own | {"NNNN"}


@pytest.mark.parametrize("page", PAGES)
def test_few_files_change(page: str) -> None:
    steps = re.findall(
        r"^\d\. (?:In|Write|Describe|Add)\b.*?(?=^\d\. |\Z)", (HOWTO / page).read_text(), re.M | re.S
    )
    changed = set()
    for step in steps:
        first = step.partition("\n")[0]
        changed |= {"migration"} if "Write" in first else set(FILE.findall(first))
    assert len(changed) <= MOST_FILES[page], changed
    assert len(changed) > 1


def test_a_field_is_read_stored_shown_and_described(follows: dict[str, Any]) -> None:
    assert follows["humidity"]["humidity_pct"] == 61.5
    assert follows["humidity"]["kept"] is None, "the row says all that the payload says"
    assert (follows["too_humid"]["humidity_pct"], follows["too_humid"]["quality"]) == (None, ["humidity_pct"])
    assert follows["rule"]["humidity_pct"] == "%"
    assert "humidity_pct" in follows["latest"]
    assert "'humidity_pct', humidity_pct" in follows["history"]
    assert follows["schemas"]["SensorPayload"]["properties"]["humidity_pct"]["description"] == "Per cent"


def test_a_family_is_received_read_stored_and_shown(follows: dict[str, Any]) -> None:
    sent = {"fuel": 40.0, "speed": 2.5, "engine": "RUNNING", "quality": [], "source": "v-1"}
    kept = '{"fuel": 40.0, "speed": 2.5, "engine": "running"}'
    assert follows["vehicle"] == {**sent, "kept": kept}
    assert "vehicle/#" in follows["filters"]
    assert "pattern write vehicle/%u/+" in follows["acl"]
    assert "vehicle" in follows["roles"]
    assert "vehicle" in follows["families"]
    assert follows["limits"]["vehicle"] == follows["limits"]["device"]
    assert (follows["rights"], follows["handler"]) == ("SELECT, INSERT", True)
    assert follows["states"] == ["RUNNING", "STOPPED"]
    assert "fuel, speed, engine" in follows["vehicles_latest"]
    assert follows["channels"]["vehicleStatus"]["address"] == "vehicle/{vehicle_id}/status"


def test_an_alert_type_is_known_by_its_word(follows: dict[str, Any]) -> None:
    assert follows["alert"] == ["FUEL_THEFT", "fuel_theft"]
    assert follows["severity"] == "MEDIUM"
    assert "pattern write alert/%u/fuel_theft" in follows["acl"]
    assert follows["hindi"] == "ईंधन चोरी"


def test_a_retention_class_has_its_days(follows: dict[str, Any]) -> None:
    assert follows["days"] == 90
