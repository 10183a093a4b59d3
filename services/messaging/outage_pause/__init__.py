"""Pauses of a consumer while a server that it needs is away."""
