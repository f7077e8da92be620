from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("fizzbuzz", "0005_idempotency_key"),
    ]

    operations = [
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
        # Readers queue behind this lock while it waits for an open transaction.
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="watermark",
            name="minutes_through",
            field=models.BigIntegerField(db_default=0),
        ),
    ]
