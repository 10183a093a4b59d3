"""Commands about stored data: schema, backups, retention, erasure and upgrades."""
