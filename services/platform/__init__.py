"""Foundation of every process: configuration, logs, metrics, database and Redis."""
