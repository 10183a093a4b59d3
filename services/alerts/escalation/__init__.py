"""Escalation: who is notified next, and when. Every file is pure."""
