"""The database schema that the code needs, and the differences of a database from it."""
