"""Benchmarks of Vigil against a naive pipeline, the floor and a plain peer.

A ledger of every message must balance.
"""
