"""Alternative implementations for comparison: the same table, responses and durability as this service."""
