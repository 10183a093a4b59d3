"""Other pipelines that do the same job, for comparison: naive, floor and plain peer."""
