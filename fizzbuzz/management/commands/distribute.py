"""`manage.py distribute`: distribute the log over the workers of a Citus cluster."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, ProgrammingError, connection
from django.db.backends.utils import CursorWrapper

from fizzbuzz.counts.folding import short_lock_waits
from fizzbuzz.db.faults import LockTimeout

LOG = "fizzbuzz_submission"
DEFAULT_SHARDS = 8  # a batch insert costs one statement per shard; see docs/scaling.md
DISTRIBUTE_LOCK_TIMEOUT_SECONDS = 10

_CLUSTER = f"""
    SELECT to_regclass('{LOG}') IS NOT NULL, (SELECT groupid FROM pg_dist_local_group) = 0,
    ARRAY(SELECT node_name || ':' || node_port FROM citus_get_active_worker_nodes() ORDER BY 1)
"""  # noqa: S608 - a constant
_DISTRIBUTION = f"""
    SELECT citus_table_type, distribution_column, shard_count FROM citus_tables WHERE table_name = '{LOG}'::regclass
"""  # noqa: S608 - a constant
_FREE = f"SELECT truncate_local_data_after_distributing_table('{LOG}')"
_SIZE = f"SELECT pg_size_pretty(pg_total_relation_size('{LOG}')), COALESCE(max(id), 0) FROM {LOG}"  # noqa: S608 - a constant


class Command(BaseCommand):
    help = (
        "Distributes the log over the workers of a Citus cluster, by id; all other tables stay on the coordinator. "
        "Run it once, on the coordinator, after migrate. Writers wait while the rows are copied; readers do not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        shards = f"parts of the log; cannot be changed later (default: {DEFAULT_SHARDS})"
        parser.add_argument("--shards", type=int, metavar="N", help=shards)
        parser.add_argument("--dry-run", action="store_true", help="check everything and print what would be done")

    def handle(self, *, shards: int | None, dry_run: bool, **options: Any) -> None:
        with connection.cursor() as cursor:
            workers = _workers(cursor)
            cursor.execute(_DISTRIBUTION)
            if present := cursor.fetchone():
                self.stdout.write("The log is distributed already: {}, by {}, in {} shards.".format(*present))
                if present != ("distributed", "id", shards or present[2]):
                    raise CommandError("This cannot be changed.")
                return
            shards = shards or max(DEFAULT_SHARDS, len(workers))
            if shards < len(workers):
                raise CommandError(f"--shards {shards} would leave some of the {len(workers)} workers empty.")
            cursor.execute(_SIZE)
            size, newest = cursor.fetchone()
            plan = f"{LOG} ({size}, newest id {newest}) by id, in {shards} shards on {', '.join(workers)}"
            if dry_run:
                self.stdout.write(f"Would distribute {plan}. Writers would wait while the rows are copied.")
                return
            _distribute(shards)
            self.stdout.write(f"Distributed {plan}.")
            try:
                # It waits for readers, and all others for it.
                with short_lock_waits(DISTRIBUTE_LOCK_TIMEOUT_SECONDS):
                    cursor.execute(_FREE)
            except LockTimeout:
                self.stderr.write(
                    "The coordinator still stores its own copy of the rows, because a long transaction reads the log. "
                    f"Free the space later: {_FREE}"
                )


def _workers(cursor: CursorWrapper) -> list[str]:
    """Return host:port of the active workers. Raise CommandError if this database cannot be distributed."""
    try:
        cursor.execute(_CLUSTER)
    except ProgrammingError as error:
        raise CommandError(
            "The Citus extension is not installed in this database. As a superuser, run CREATE EXTENSION citus "
            "on the coordinator and on each worker. docs/deployment.md describes the set-up."
        ) from error
    exists, is_coordinator, workers = cursor.fetchone()
    for is_met, problem in (
        (exists, "The log does not exist yet: run manage.py migrate first."),
        (is_coordinator, "This is a worker. Set DATABASE_URL to the coordinator; all writes go through it."),
        (workers, "The cluster has no workers: run SELECT citus_add_node('host', 5432) for each."),
    ):
        if not is_met:
            raise CommandError(problem)
    return workers


def _distribute(shards: int) -> None:
    try:
        with short_lock_waits(DISTRIBUTE_LOCK_TIMEOUT_SECONDS) as cursor:
            cursor.execute("SELECT set_config('citus.shard_count', %s, true)", [str(shards)])
            cursor.execute(f"LOCK TABLE {LOG} IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute("SELECT create_distributed_table(%s, 'id')", [LOG])
    except LockTimeout as error:
        raise CommandError(
            f"Could not lock the log within {DISTRIBUTE_LOCK_TIMEOUT_SECONDS} s. Nothing was changed; "
            "try again when no import or other long transaction is running."
        ) from error
    except Error as error:
        raise CommandError(f"The log was not distributed: {error}".strip()) from error
