"""Retention of data: partitions made ahead and dropped, and rows that are too old."""
