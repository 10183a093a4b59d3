"""Alerts: merged, followed, on record."""
