"""App configuration: registers the handlers of migrate, and starts the folds."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate, pre_migrate


class FizzBuzzConfig(AppConfig):
    name = "fizzbuzz"

    def ready(self) -> None:
        # Models cannot be imported before ready().
        from fizzbuzz import database_setup  # noqa: PLC0415
        from fizzbuzz.counts import fold_scheduler  # noqa: PLC0415

        pre_migrate.connect(database_setup.before_migrate, sender=self)
        post_migrate.connect(database_setup.after_migrate, sender=self)
        if settings.IN_WEB_WORKER:
            fold_scheduler.scheduler.start()
