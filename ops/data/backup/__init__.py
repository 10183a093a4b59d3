"""Backup and restore of an installation (docs/adr/0018)."""
