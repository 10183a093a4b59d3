"""Attacks on the HTTP port, each bounded in count and time and on loopback alone, beside a probe of honest work."""
