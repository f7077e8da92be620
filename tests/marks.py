"""Markers that many modules share."""

from __future__ import annotations

import pytest
from django.conf import settings

import fizzbuzz_site.middleware  # noqa: F401 - can't be imported first by a test that leaves out the admin's apps

ADMINS = {f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions")} | {"axes"}

# Without the admin's apps, emptying the tables afterwards is cheap: theirs are kept, and need not be filled again.
commits = pytest.mark.django_db(
    transaction=True, available_apps=[app for app in settings.INSTALLED_APPS if app not in ADMINS]
)
