"""The HTTP API: a table of operations, from which requests are served and OpenAPI is generated."""
