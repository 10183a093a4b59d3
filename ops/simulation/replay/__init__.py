"""Replays of a recorded shift through the whole pipeline, into a tenant for replays only."""
