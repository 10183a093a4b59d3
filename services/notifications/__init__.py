"""Notifications: recipients, messages, delivery and results."""
