from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # for CONCURRENTLY: writers go on

    dependencies = [("fizzbuzz", "0002_rollup")]

    operations = [
        # A transaction that stays open would hold up CONCURRENTLY for as long, without a word.
        migrations.RunSQL("SET lock_timeout = '60s'", migrations.RunSQL.noop),
        # What a run that was killed may have left.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS submission_created_at", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="submission",
            index=BrinIndex(fields=["created_at"], name="submission_created_at", autosummarize=True),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
