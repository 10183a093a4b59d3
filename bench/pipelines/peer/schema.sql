-- The tables of the plain peer: Vigil's columns under Vigil's names, so that one checker counts both.
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE TABLE IF NOT EXISTS message_seen (message_key uuid PRIMARY KEY, received_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS mqtt_guard_location (
    message_key uuid NOT NULL, source_id text NOT NULL, msg_id text, recorded_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL, raw_data json, lat float8 NOT NULL, lon float8 NOT NULL, accuracy real, speed real,
    heading real, location geography(point, 4326) NOT NULL, in_geofence bool NOT NULL, geofence_violation bool NOT NULL);
CREATE TABLE IF NOT EXISTS mqtt_device_telemetry (
    message_key uuid NOT NULL, source_id text NOT NULL, msg_id text, recorded_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL, raw_data json, battery real, signal real, temperature real, connectivity text);
CREATE TABLE IF NOT EXISTS mqtt_sensor_reading (
    message_key uuid NOT NULL, source_id text NOT NULL, msg_id text, recorded_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL, raw_data json, type text, value float8, state text);
CREATE TABLE IF NOT EXISTS mqtt_system_health (
    message_key uuid NOT NULL, source_id text NOT NULL, msg_id text, recorded_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL, raw_data json, cpu real, memory real, disk real, uptime float8);
CREATE TABLE IF NOT EXISTS alert_occurrence (
    message_key uuid NOT NULL, source_id text NOT NULL, msg_id text, recorded_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL, raw_data json, severity text, message text);
CREATE TABLE IF NOT EXISTS rejected_message (
    message_key uuid NOT NULL, topic text NOT NULL, payload bytea NOT NULL, reason text NOT NULL,
    received_at timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS guard_source ON mqtt_guard_location (source_id, recorded_at DESC);
CREATE INDEX IF NOT EXISTS device_source ON mqtt_device_telemetry (source_id, recorded_at DESC);
CREATE INDEX IF NOT EXISTS sensor_source ON mqtt_sensor_reading (source_id, recorded_at DESC);
CREATE INDEX IF NOT EXISTS system_source ON mqtt_system_health (source_id, recorded_at DESC);
CREATE INDEX IF NOT EXISTS alert_source ON alert_occurrence (source_id, recorded_at DESC);
