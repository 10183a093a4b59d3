"""Surroundings of a hosted service: production settings, stop signals, watches, liveness."""
