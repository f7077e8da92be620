"""Markers that many modules share."""

from __future__ import annotations

import pytest
from django.conf import settings

from fizzbuzz_site import urls  # noqa: F401 - they import the admin's apps, which tests may be without

ADMINS = {f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions")} | {"axes"}

# Without the admin's apps, emptying the tables afterwards is cheap: theirs are kept, and need not be filled again.
commits = pytest.mark.django_db(
    transaction=True, available_apps=[app for app in settings.INSTALLED_APPS if app not in ADMINS]
)
