"""Connections to PostgreSQL: Django's backend, deadlines, the pool, reads, errors, locks."""
