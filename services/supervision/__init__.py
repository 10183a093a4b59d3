"""Signs of life of a process, and notes that outlive it."""
