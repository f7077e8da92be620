"""What Django does for the app as it starts."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class FizzBuzzConfig(AppConfig):
    name = "fizzbuzz"

    def ready(self) -> None:
        post_migrate.connect(_set_planner, sender=self)


def _set_planner(using: str, **more: Any) -> None:
    """Anew with each `migrate`: a dump carries the tables, and not what was set for the role that reads them."""
    with connections[using].cursor() as cursor:
        cursor.execute(import_module("fizzbuzz.migrations.0002_rollup").SET_PLANNER)
