"""Recorded shifts in files of other programs: read into fixes, and moved to the present time."""
