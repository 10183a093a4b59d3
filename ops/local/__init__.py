"""Local stack: private servers, the supervisor and loopback ports."""
