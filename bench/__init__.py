"""Measures Vigil against a naive pipeline and against the floor, and balances the ledger of every message."""
