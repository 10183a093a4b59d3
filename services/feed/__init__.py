"""Live feed: sealed frames in one Redis stream for each tenant."""
