"""Who is told of an alert, by which channel, and what became of it."""
