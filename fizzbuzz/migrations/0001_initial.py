"""The whole schema. A database of release 0.1.0 or 0.2.0 has it already, by the migrations that this one replaces."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    replaces = [
        ("fizzbuzz", "0001_submission"),
        ("fizzbuzz", "0002_rollup"),
        ("fizzbuzz", "0003_submission_created_at"),
        ("fizzbuzz", "0004_import"),
        ("fizzbuzz", "0005_idempotency_key"),
        ("fizzbuzz", "0006_minute_counts"),
        ("fizzbuzz", "0007_minutes_of_an_existing_log"),
    ]

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Submission",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["number", "id"], name="submission_number_id"),
                    BrinIndex(fields=["created_at"], name="submission_created_at", autosummarize=True),
                ],
            },
        ),
        migrations.CreateModel(
            name="NumberCount",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("count", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(count__gt=0), name="numbercount_count_positive")
                ],
                "indexes": [models.Index(fields=["-count", "number"], name="numbercount_most_common")],
            },
        ),
        migrations.CreateModel(
            name="MinuteCount",
            fields=[
                ("minute", models.DateTimeField(primary_key=True, serialize=False)),
                ("fizz", models.BigIntegerField()),
                ("buzz", models.BigIntegerField()),
                ("fizzbuzz", models.BigIntegerField()),
                ("number", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Watermark",
            fields=[
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("through", models.BigIntegerField()),
                ("folded_at", models.DateTimeField()),
                ("minutes_through", models.BigIntegerField(db_default=0)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(id=1), name="watermark_one_row")],
            },
        ),
        migrations.CreateModel(
            name="Import",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("rows", models.BigIntegerField()),
                ("started_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(rows__gte=0), name="import_rows_not_negative")
                ],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("key", models.CharField(max_length=300, primary_key=True, serialize=False)),
                ("submissions", ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("created_at", models.DateTimeField(db_default=Now(), db_index=True, editable=False)),
            ],
        ),
    ]
