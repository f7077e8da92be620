"""`manage.py prune_idempotency_keys`: delete expired idempotency keys."""

from typing import Any

from django.core.management.base import BaseCommand

from fizzbuzz.submissions import idempotency


class Command(BaseCommand):
    help = (
        f"Deletes idempotency keys older than {idempotency.KEY_LIFETIME_HOURS} hours. "
        "Each new key also deletes a few expired ones."
    )

    def handle(self, **options: Any) -> None:
        self.stdout.write(f"{idempotency.prune()} deleted")
