"""Positions on their way to the feed."""
