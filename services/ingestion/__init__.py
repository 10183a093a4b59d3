"""What happens to every batch of field messages before its domain looks at it."""
