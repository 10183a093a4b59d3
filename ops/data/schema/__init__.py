"""Revisions of the schema, up and down, without loss of rows."""
