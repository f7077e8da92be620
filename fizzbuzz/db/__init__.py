"""Connections to PostgreSQL: Django's backend, deadlines, pools, reads, errors, outages, lock timeouts."""
