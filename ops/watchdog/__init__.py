"""Watches Vigil from outside of its services, and says so in metrics: whether an alarm would arrive at all."""
