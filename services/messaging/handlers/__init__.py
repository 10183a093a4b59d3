"""Handlers of events beyond one at a time: by shard in batches, and by tenant in turn."""
