"""Ledger of the bench: its messages, their sender, and the check of what was stored."""
