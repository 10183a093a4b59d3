"""The database's schema as the code needs it, and where a database differs from it."""
