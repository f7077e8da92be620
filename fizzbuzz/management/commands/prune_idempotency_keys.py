"""`manage.py prune_idempotency_keys`: forgets the keys that expired."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from fizzbuzz.submissions import idempotency


class Command(BaseCommand):
    help = f"Deletes idempotency keys older than {idempotency.HOURS} hours. New ones take old ones along, too."

    def handle(self, **options: Any) -> None:
        self.stdout.write(f"{idempotency.prune()} deleted")
