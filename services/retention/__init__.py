"""How long what is kept: partitions made ahead and dropped, rows that are too old."""
