from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY does not block writers, and cannot run in a transaction

    dependencies = [("fizzbuzz", "0002_rollup")]

    operations = [
        # CONCURRENTLY waits for open transactions: fail with an error instead of waiting forever.
        migrations.RunSQL("SET lock_timeout = '60s'", migrations.RunSQL.noop),
        # A killed run may have left an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS submission_created_at", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="submission",
            index=BrinIndex(fields=["created_at"], name="submission_created_at", autosummarize=True),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
