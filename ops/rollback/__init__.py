"""Going back to an older schema without losing what it has no place for (docs/adr/0018)."""
