"""Decoding of topics and payloads. Every file is pure: time and identity come in."""
