"""Events that a process has in hand, and those that it may not survive."""
