"""Callers of the control room: tokens, tickets, log-in limits, quotas and origins."""
