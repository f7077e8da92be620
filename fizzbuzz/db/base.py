"""Database backend: django-prometheus' for PostgreSQL, with deadlines, pools, and settings of each session."""

from typing import Any

from django.conf import settings
from django_prometheus.db.backends.postgresql import base

from fizzbuzz.db import pool
from fizzbuzz.db.deadline import DeadlineConnection

# What the code relies on, whatever is set for the role, the database or the server. PgBouncer accepts none of these
# from a client: it sets them itself (deploy/pgbouncer/pgbouncer.ini).
SESSION = {
    "default_transaction_isolation": r"read\ committed",
    "statement_timeout": "0",  # of commands; DeadlineConnection sets another
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "client_min_messages": "warning",  # for DeadlineConnection
    "standard_conforming_strings": "on",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    # The planner overestimates the tail as a third of the log, and would use parallel workers and JIT for a few rows.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]  # django-prometheus has no types
    @property
    def pool(self) -> pool.Pool | None:
        """The pool of web workers; Django takes connections from it and returns them. Commands have none."""
        return pool.WRITES if settings.IN_WEB_WORKER else None

    def get_connection_params(self) -> dict[str, Any]:
        """Return psycopg's parameters. Start the embedded server first, if it is used and does not run.

        Workers leave the start to gunicorn's master, so that none of them hangs in it.
        """
        params = super().get_connection_params()
        if server := settings.EMBEDDED:
            params["host"] = server.host if settings.IN_WEB_WORKER else server.acquire()
        if not settings.TRANSACTION_POOLING:
            ours = [f"-c {name}={value}" for name, value in SESSION.items()]
            params["options"] = " ".join([params.get("options", ""), *ours])
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> DeadlineConnection:
        return self.pool.getconn() if self.pool else DeadlineConnection.connect(**conn_params, autocommit=True)
