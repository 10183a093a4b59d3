"""Field tables hold nothing twice: a third of a position's bytes were a copy of its columns.

A payload is stored when it says more than its row (services/raw_data.py). The names of a message's
faults are stored when it has any. A position's place is `lat` and `lon`: `location` said the same,
and no query read it. The battery of a guard's phone was in the payload only, and gets a column.

The way up changes the catalog only. It takes milliseconds, however many rows the tables hold.
Existing rows keep their size until retention drops their partition. New rows are small in old
partitions too. The way down rewrites the rows that lack something, partition by partition, and
rebuilds the payload from their columns.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

COMMON = "'timestamp', recorded_at, 'msg_id', msg_id"
GIVEN_BACK = {
    "mqtt_device_telemetry": "'battery', battery, 'signal', signal, 'temperature', temperature,"
    " 'connectivity', connectivity",
    "mqtt_guard_location": "'lat', lat, 'lon', lon, 'accuracy', accuracy, 'speed', speed, 'heading', heading,"
    " 'source', source, 'mock', mock, 'battery', battery",
    "mqtt_sensor_reading": "'type', type, 'value', value, 'state', state",
    "mqtt_system_health": "'cpu', cpu, 'memory', memory, 'disk', disk, 'uptime', uptime",
}
"""Fields of a payload by its columns."""


def upgrade() -> None:
    for table in GIVEN_BACK:
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN quality DROP NOT NULL, ALTER COLUMN raw_data DROP NOT NULL"
        )
        op.execute(
            f"COMMENT ON COLUMN {table}.quality IS 'what is wrong with the message; null: nothing that is known'"
        )
        op.execute(
            f"COMMENT ON COLUMN {table}.raw_data IS 'the payload as it came; null: the row says all that it said'"
        )
    op.execute("ALTER TABLE mqtt_guard_location DROP COLUMN location, ADD COLUMN battery real")
    op.execute("COMMENT ON COLUMN mqtt_guard_location.battery IS 'per cent, of the phone'")


def downgrade() -> None:
    op.execute("ALTER TABLE mqtt_guard_location ADD COLUMN location geography(Point, 4326)")
    for table, fields in GIVEN_BACK.items():
        place = ""
        if table == "mqtt_guard_location":
            place = ", location = ST_SetSRID(ST_MakePoint(lon, lat), 4326)::geography"
        op.execute(
            f"UPDATE {table} SET quality = coalesce(quality, '{{}}'),"
            f" raw_data = coalesce(raw_data, json_strip_nulls(json_build_object({fields}, {COMMON}))){place}"
            f" WHERE quality IS NULL OR raw_data IS NULL{' OR location IS NULL' if place else ''}"
        )
        op.execute(f"COMMENT ON COLUMN {table}.quality IS NULL")
        op.execute(f"COMMENT ON COLUMN {table}.raw_data IS NULL")
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN quality SET NOT NULL, ALTER COLUMN raw_data SET NOT NULL"
        )
    op.execute("ALTER TABLE mqtt_guard_location DROP COLUMN battery, ALTER COLUMN location SET NOT NULL")
