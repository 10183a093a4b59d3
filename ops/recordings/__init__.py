"""Recorded shifts in files of others: read into fixes, and their times moved to now."""
