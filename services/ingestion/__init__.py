"""Steps that every batch of field messages goes through before its domain handles it."""
