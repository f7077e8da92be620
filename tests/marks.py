"""Markers for several test modules."""

import pytest
from django.conf import settings

from fizzbuzz_site import urls  # noqa: F401 - imports the admin's apps, which must happen before `commits` removes them

ADMINS = {f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions")} | {"axes"}

# Without the admin's apps, flushing the tables after a test is cheap: theirs are kept and need not be filled again.
commits = pytest.mark.django_db(
    transaction=True, available_apps=[app for app in settings.INSTALLED_APPS if app not in ADMINS]
)
