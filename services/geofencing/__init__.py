"""Geofencing: shapes of zones, and the rule that judges fixes. docs/zones.md states the rule."""
