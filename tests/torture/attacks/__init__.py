"""Attacks on the HTTP port, beside a probe of honest work.

Each attack is bounded in count and time, and is on loopback alone.
"""
