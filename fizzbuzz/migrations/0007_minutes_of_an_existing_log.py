from __future__ import annotations

from django.db import migrations

# Separate from the migration that adds the column, whose lock blocks all readers. Rows below the watermark do not
# change, so this blocks no fold. The release before may keep folding concurrently: for MinuteCount, the rows that it
# folds stay in the tail until the first fold by this release.
BRING_OVER = """
    DO $$
    DECLARE
        watermark fizzbuzz_watermark;
    BEGIN
        SELECT * INTO watermark FROM fizzbuzz_watermark;
        INSERT INTO fizzbuzz_minutecount AS minutes (minute, fizz, buzz, fizzbuzz, number)
        SELECT
            minute,
            count(*) FILTER (WHERE kind = 'Fizz'), count(*) FILTER (WHERE kind = 'Buzz'),
            count(*) FILTER (WHERE kind = 'FizzBuzz'), count(*) FILTER (WHERE kind = 'Number')
        FROM (
            SELECT
                date_trunc('minute', created_at, 'UTC') AS minute,
                CASE
                    WHEN mod(number, 3) = 0 AND mod(number, 5) = 0 THEN 'FizzBuzz'
                    WHEN mod(number, 3) = 0 THEN 'Fizz'
                    WHEN mod(number, 5) = 0 THEN 'Buzz'
                    ELSE 'Number'
                END AS kind
            FROM fizzbuzz_submission WHERE id > watermark.minutes_through AND id <= watermark.through
        ) AS explained
        GROUP BY minute
        ON CONFLICT (minute) DO UPDATE SET
            fizz = minutes.fizz + EXCLUDED.fizz, buzz = minutes.buzz + EXCLUDED.buzz,
            fizzbuzz = minutes.fizzbuzz + EXCLUDED.fizzbuzz, number = minutes.number + EXCLUDED.number;
        UPDATE fizzbuzz_watermark SET minutes_through = GREATEST(minutes_through, watermark.through)
        WHERE minutes_through = watermark.minutes_through;
        IF watermark.id IS NOT NULL AND NOT FOUND THEN
            RAISE 'The new release has folded already. Nothing was changed: run migrate again';
        END IF;
    END $$
"""


class Migration(migrations.Migration):
    dependencies = [("fizzbuzz", "0006_minute_counts")]

    operations = [migrations.RunSQL(BRING_OVER, migrations.RunSQL.noop)]
