"""`manage.py distribute`: distribute the log over the workers of a Citus cluster."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz.db.faults import LockTimeout, lock_timeout

LOG = "fizzbuzz_submission"
DEFAULT_SHARDS = 8  # a batch insert costs one statement per shard; see docs/scaling.md
LOCK_TIMEOUT_SECONDS = 10

_WORKERS = "SELECT node_name || ':' || node_port FROM citus_get_active_worker_nodes() ORDER BY 1"
_UNHEALTHY = """
    SELECT DISTINCT to_nodename || ':' || to_nodeport FROM citus_check_cluster_node_health()
    WHERE result IS NOT TRUE ORDER BY 1
"""
_DISTRIBUTION = """
    SELECT citus_table_type, distribution_column, shard_count FROM citus_tables WHERE table_name = %s::regclass
"""
_FREE = f"SELECT truncate_local_data_after_distributing_table('{LOG}')"
_SIZE = f"SELECT pg_size_pretty(pg_total_relation_size('{LOG}')), max(id) FROM {LOG}"  # noqa: S608 - a constant


class Command(BaseCommand):
    help = (
        "Distributes the log over the workers of a Citus cluster, by id; all other tables stay on the coordinator. "
        "Run it once, on the coordinator, after migrate. Writers wait while the rows are copied; readers do not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--shards",
            type=int,
            metavar="N",
            help=f"parts of the log; cannot be changed later (default: {DEFAULT_SHARDS})",
        )
        parser.add_argument("--dry-run", action="store_true", help="check everything and print what would be done")

    def handle(self, *, shards: int | None, dry_run: bool, **options: Any) -> None:
        with connection.cursor() as cursor:
            workers = self._workers(cursor)
            if self._is_distributed(cursor, shards):
                return
            shards = shards or max(DEFAULT_SHARDS, len(workers))
            if shards < len(workers):
                raise CommandError(f"--shards {shards} would leave some of the {len(workers)} workers empty.")
            cursor.execute(_SIZE)
            size, newest = cursor.fetchone()
            plan = f"{LOG} ({size}, newest id {newest or 0}) by id, in {shards} shards on {', '.join(workers)}"
            if dry_run:
                self.stdout.write(f"Would distribute {plan}. Writers would wait while the rows are copied.")
                return
            seconds = self._distribute(cursor, shards)
            self.stdout.write(f"Distributed {plan}. Writers waited for {seconds:.1f} s.")
            self._free_local_copy(cursor)

    def _workers(self, cursor: CursorWrapper) -> list[str]:
        """Return host:port of the active workers. Raise CommandError if this database cannot be distributed."""
        cursor.execute("SELECT to_regclass(%s), to_regclass('pg_dist_local_group')", [LOG])
        log, citus = cursor.fetchone()
        if citus is None:
            raise CommandError(
                "The Citus extension is not installed in this database. As a superuser, run CREATE EXTENSION citus "
                "on the coordinator and on each worker. docs/deployment.md describes the set-up."
            )
        if log is None:
            raise CommandError("The log does not exist yet: run manage.py migrate first.")
        cursor.execute("SELECT groupid FROM pg_dist_local_group")
        if cursor.fetchone() != (0,):
            raise CommandError("This is a worker. Set DATABASE_URL to the coordinator; all writes go through it.")
        cursor.execute(_WORKERS)
        workers = [name for (name,) in cursor.fetchall()]
        if not workers:
            raise CommandError("The cluster has no workers: run SELECT citus_add_node('host', 5432) for each.")
        cursor.execute(_UNHEALTHY)
        if unhealthy := [name for (name,) in cursor.fetchall()]:
            raise CommandError(f"Some nodes cannot be reached from all others: {', '.join(unhealthy)}.")
        return workers

    def _is_distributed(self, cursor: CursorWrapper, shards: int | None) -> bool:
        cursor.execute(_DISTRIBUTION, [LOG])
        row = cursor.fetchone()
        if row is None:
            return False
        kind, column, present = row
        if (kind, column) != ("distributed", "id"):
            raise CommandError(f"The log is a {kind} table already, by {column}. It must be distributed by id.")
        if shards not in {None, present}:
            raise CommandError(f"The log has {present} shards already. Their number cannot be changed.")
        self.stdout.write(f"The log is distributed already: by id, in {present} shards. Nothing was changed.")
        return True

    def _distribute(self, cursor: CursorWrapper, shards: int) -> float:
        """Distribute the log, and return how long writers had to wait, in seconds."""
        begin = time.monotonic()
        try:
            with transaction.atomic(durable=True), lock_timeout(cursor, LOCK_TIMEOUT_SECONDS):
                cursor.execute("SELECT set_config('citus.shard_count', %s, true)", [str(shards)])
                cursor.execute(f"LOCK TABLE {LOG} IN SHARE ROW EXCLUSIVE MODE")
                begin = time.monotonic()
                cursor.execute("SELECT create_distributed_table(%s, 'id')", [LOG])
        except LockTimeout as error:
            raise CommandError(
                f"Could not lock the log within {LOCK_TIMEOUT_SECONDS} s. Nothing was changed; "
                "try again when no import or other long transaction is running."
            ) from error
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"The log was not distributed: {error}".strip()) from error
        return time.monotonic() - begin

    def _free_local_copy(self, cursor: CursorWrapper) -> None:
        """Truncate the hidden rows that the coordinator still stores. It waits for readers, and all others for it."""
        try:
            with transaction.atomic(durable=True), lock_timeout(cursor, LOCK_TIMEOUT_SECONDS):
                cursor.execute(_FREE)
        except LockTimeout:
            self.stderr.write(
                "The coordinator still stores its own copy of the rows, because a long transaction reads the log. "
                f"Free the space later: {_FREE}"
            )
