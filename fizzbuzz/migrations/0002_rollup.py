from __future__ import annotations

from django.db import migrations, models

# Counts an existing log, so that no submission has to wait for that. The release before this migration may keep writing
# concurrently; folds count its new rows. docs/exactness.md explains why this waits for the writers.
BRING_OVER = """
    DO $$
    DECLARE
        newest bigint := (SELECT max(id) FROM fizzbuzz_submission);
        writers text[] := ARRAY(
            SELECT virtualtransaction FROM pg_locks
            WHERE relation = 'fizzbuzz_submission'::regclass AND mode = 'RowExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND pid IS DISTINCT FROM pg_backend_pid()
        );
        deadline timestamptz := clock_timestamp() + interval '60 s';
    BEGIN
        IF newest IS NULL THEN
            RETURN;
        END IF;
        WHILE EXISTS (
            SELECT FROM pg_locks
            WHERE relation = 'fizzbuzz_submission'::regclass AND mode = 'RowExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (virtualtransaction = ANY(writers) OR pid IS NULL)
        ) LOOP
            IF clock_timestamp() > deadline THEN
                RAISE 'A transaction that wrote to fizzbuzz_submission has been open for more than 60 s. Nothing was '
                    'changed. End it (pid %), and run migrate again', (
                        SELECT COALESCE(string_agg(pid::text, ', '), 'unknown: see pg_prepared_xacts') FROM pg_locks
                        WHERE relation = 'fizzbuzz_submission'::regclass AND mode = 'RowExclusiveLock'
                        AND virtualtransaction = ANY(writers)
                    );
            END IF;
            PERFORM pg_sleep(0.01);
        END LOOP;
        INSERT INTO fizzbuzz_numbercount (number, count)
        SELECT number, count(*) FROM fizzbuzz_submission WHERE id <= newest GROUP BY number;
        INSERT INTO fizzbuzz_watermark (id, through, folded_at) VALUES (1, newest, now());
    END $$
"""

# The planner overestimates the tail as a third of the log, and would use parallel workers and JIT for a few rows.
# Stored on the role, because a connection pooler may ignore startup parameters.
SET_PLANNER = """
    DO $$
    DECLARE
        role text := format('ALTER ROLE CURRENT_USER IN DATABASE %I ', current_database());
    BEGIN
        EXECUTE role || 'SET max_parallel_workers_per_gather = 0';
        EXECUTE role || 'SET jit = off';
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'the planner settings of this role could not be changed: %', SQLERRM;
    END $$
"""
RESET_PLANNER = """
    DO $$
    DECLARE
        role text := format('ALTER ROLE CURRENT_USER IN DATABASE %I ', current_database());
    BEGIN
        EXECUTE role || 'RESET max_parallel_workers_per_gather';
        EXECUTE role || 'RESET jit';
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'the planner settings of this role could not be changed: %', SQLERRM;
    END $$
"""


class Migration(migrations.Migration):
    dependencies = [("fizzbuzz", "0001_submission")]

    operations = [
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
            },
        ),
        migrations.CreateModel(
            name="Watermark",
            fields=[
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("through", models.BigIntegerField()),
                ("folded_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(id=1), name="watermark_one_row")],
            },
        ),
        migrations.RunSQL(BRING_OVER, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="numbercount",
            index=models.Index(fields=["-count", "number"], name="numbercount_most_common"),
        ),
        migrations.RunSQL(SET_PLANNER, RESET_PLANNER),
    ]
