"""Users who log in: sessions, passwords and barred subjects."""
