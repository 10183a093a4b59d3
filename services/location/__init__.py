"""Positions, zones, verdicts."""
