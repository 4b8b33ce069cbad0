"""Performance baseline: budgets, lock, validation."""
