"""Measurements of the bench: CPU, latencies, cost at rest, growth, websocket sessions and zones."""
