"""From devices to events, and receipts back."""
