"""Going back to an older schema without losing the data that it cannot hold (docs/adr/0018)."""
