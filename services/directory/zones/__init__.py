"""Zones in the database: stored, imported, exported and previewed."""
