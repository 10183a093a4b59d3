"""Alerts: merging, escalation and the record of them."""
