"""Simulated fleets, replayed recordings and trials of rules."""
