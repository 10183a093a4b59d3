"""Tests of the table of families: its rows agree, and the places that cannot read it agree with it."""

from typing import get_args

import msgspec
import pytest

from gateway.mqtt import access_control
from gateway.mqtt.decoding import topics
from ops.commands.messages.latest import KINDS
from ops.servers.privileges import PRIVILEGES
from services.contracts import families
from services.contracts.families import (
    BATCHED,
    FAMILIES,
    OF_DEVICES,
    PYTHON_TYPES,
    TELEMETRY,
    UNITS,
    BatchedFamily,
    DeviceFamily,
    Family,
    MessageFamily,
    Origin,
    Reading,
)
from services.contracts.retention_classes import TENANT_CLASSES
from services.directory.dead_letters.ownership import BODIES
from services.ingestion.raw_data import _DECODERS
from services.platform.config import LocationSettings
from services.platform.schema.expected import expected
from services.telemetry import rules
from services.telemetry.service import TelemetryService

SQL_TYPES = {"real": "real", "float8": "double precision", "text": "text", "bool": "boolean"}
"""Types of columns as the catalog of PostgreSQL names them."""


def name_of(row: MessageFamily) -> str:
    return row.name


def test_each_word_has_one_row() -> None:
    assert sorted(row.family for row in FAMILIES) == sorted(Family)
    assert [row.topic.split("/")[0] for row in FAMILIES] == [row.name for row in FAMILIES]
    assert {row.message for row in TELEMETRY} == set(get_args(Reading))
    assert tuple(row.name for row in OF_DEVICES) == get_args(DeviceFamily)


@pytest.mark.parametrize("name", ["event", "table", "command", "channel"])
def test_no_two_families_have_the_same(name: str) -> None:
    values = [value for row in FAMILIES if (value := getattr(row, name))]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("row", BATCHED, ids=name_of)
def test_a_message_is_its_origin_and_a_column_for_each_further_field(row: BatchedFamily) -> None:
    first, *others = row.message.__struct_fields__
    assert (first, row.message.__annotations__[first]) == ("origin", "Origin")
    assert tuple(others) == tuple(row.fields)


@pytest.mark.parametrize("row", BATCHED, ids=name_of)
def test_the_facts_of_a_column_are_whole(row: BatchedFamily) -> None:
    for name, column in row.fields.items():
        assert column.sql in PYTHON_TYPES, name
        assert not column.unit or column.unit in UNITS, name
        assert bool(column.unit) <= (PYTHON_TYPES[column.sql] is float), name
        assert column.other is None or column.other in column.words, name
        assert not column.is_state or column.words, name


@pytest.mark.parametrize("row", BATCHED, ids=name_of)
def test_the_table_has_the_columns_with_their_types(row: BatchedFamily) -> None:
    catalog = expected()
    for name, sql in row.columns.items():
        shape = catalog[f"column {row.table}.{name}"]
        assert shape.split(",")[0] == SQL_TYPES[sql], f"{row.table}.{name} is {shape}"
    common = {row.source_column, *Origin.__struct_fields__, "message_key", "tenant_id", "raw_data"}
    own = {key.split(".")[1] for key in catalog if key.startswith(f"column {row.table}.")}
    assert own <= common | row.columns.keys(), "the table has a column that no field fills"


@pytest.mark.parametrize("row", BATCHED, ids=name_of)
def test_a_batch_goes_through_the_wire(row: BatchedFamily) -> None:
    body = msgspec.msgpack.encode(row.batch_of([]))
    assert msgspec.msgpack.decode(body, type=row.batch) == row.batch_of([])
    assert BODIES[row.event] is row.batch


@pytest.mark.parametrize("row", [row for row in FAMILIES if row.table], ids=name_of)
def test_the_retention_class_has_a_policy(row: MessageFamily) -> None:
    assert row.retention in TENANT_CLASSES


def test_what_devices_may_be_out_of_touch_for_is_a_setting() -> None:
    assert {row.silence_limit for row in OF_DEVICES} <= set(LocationSettings.__struct_fields__)


def test_every_family_is_received_and_may_be_sent() -> None:
    received = {*topics.FILTERS["bulk"], *topics.FILTERS["alert"], *topics.OPTIONAL["bulk"]}
    assert received == {f"{row.name}/#" for row in FAMILIES}
    acl = access_control.acl_file("", anonymous=False).splitlines()
    for row in FAMILIES:
        assert {f"pattern write {topic.format('%u')}" for topic in row.may_write} <= set(acl)


@pytest.mark.parametrize("row", BATCHED, ids=name_of)
def test_a_topic_of_the_shape_is_read(row: BatchedFamily) -> None:
    words = [f"{word.strip('{}')}-1" if word.startswith("{") else word for word in row.topic.split("/")]
    if row.details:
        words[-1] = sorted(row.details)[0]
    topic = topics.parse("/".join(words))
    assert topic.family is row.family
    assert topic.source_id.endswith("_id-1")


@pytest.mark.parametrize("row", TELEMETRY, ids=name_of)
def test_the_service_has_a_handler_and_the_rights(row: BatchedFamily) -> None:
    assert callable(getattr(TelemetryService, row.handler))
    telemetry = PRIVILEGES["telemetry"]
    assert ("mqtt_gateway", row.event, row.handler) in telemetry.consumes
    assert telemetry.tables["ingest"][row.table] == "SELECT, INSERT"
    assert row.event in PRIVILEGES["mqtt_gateway-bulk"].publishes


@pytest.mark.parametrize("row", BATCHED, ids=name_of)
def test_rules_raw_data_and_vigil_latest_know_the_family(row: BatchedFamily) -> None:
    assert KINDS[row.command] is row
    assert row.source_column in _DECODERS
    assert (row.name in rules.KINDS) is (row in TELEMETRY)


def test_what_a_column_says_to_device_makers() -> None:
    assert families.DEVICE.fields["signal"].description == "dBm"
    assert families.DEVICE.fields["connectivity"].description == "OFFLINE, ONLINE, POOR, in any case"
    assert families.GUARD.fields["heading"].description == "Degrees from north"
    assert families.SENSOR.fields["kind"].description == ""
