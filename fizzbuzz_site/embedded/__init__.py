"""The PostgreSQL that `make run` starts."""
