"""Production settings with short timeouts; a test's service uses them with tests.service.SHORT_DEADLINES."""

from django.apps import AppConfig

from fizzbuzz_site.serving import slow_clients
from fizzbuzz_site.settings import *  # noqa: F403 - all of them
from fizzbuzz_site.settings import INSTALLED_APPS

slow_clients.CLIENT_TIMEOUT_SECONDS = 3
DATABASE_POOL_TIMEOUT_SECONDS = 2
INSTALLED_APPS += ["tests.short_deadlines.ShortDeadlines"]


class ShortDeadlines(AppConfig):
    name = "tests"

    def ready(self) -> None:
        from fizzbuzz.db import pool  # noqa: PLC0415 - it reads the settings
        from fizzbuzz.submissions import record  # noqa: PLC0415

        pool.DEADLINE_SECONDS = 4
        record.STATEMENT_TIMEOUT_SECONDS = 3
