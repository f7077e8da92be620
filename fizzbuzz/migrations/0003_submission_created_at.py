from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False  # for CONCURRENTLY: writers go on

    dependencies = [("fizzbuzz", "0002_rollup")]

    operations = [
        # What a run that was killed may have left.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS submission_created_at", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="submission",
            index=BrinIndex(fields=["created_at"], name="submission_created_at", autosummarize=True),
        ),
    ]
