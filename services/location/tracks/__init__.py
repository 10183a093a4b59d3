"""Stored positions as answers: newest, nearby, tracks and time in zones."""
