"""Care of stored data: backups, the schema's revisions, erasure."""
