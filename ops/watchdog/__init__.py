"""Watchdog of Vigil from outside of its services.

Its metrics show whether an alarm would arrive.
"""
