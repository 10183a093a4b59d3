"""Profiles of guards, sites and devices: what an operator must know of them during an alert."""
