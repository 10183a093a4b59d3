"""Commands about messages: stored, refused, dead, simulated and replayed ones."""
