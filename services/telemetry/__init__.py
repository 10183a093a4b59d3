"""Device telemetry, sensors, system health, refused messages."""
