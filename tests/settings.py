"""The service's settings, with an embedded database of the tests' own unless DATABASE_URL names another."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "DATABASE_URL" not in os.environ:
    data_dir = Path(tempfile.mkdtemp(prefix="fizzbuzz-tests-"))
    data_dir.chmod(0o711)  # started by root, PostgreSQL runs as another user
    os.environ["DATA_DIR"] = str(data_dir)
    # Registered before the server's own leave, and so run after it.
    atexit.register(shutil.rmtree, data_dir, ignore_errors=True)
os.environ.setdefault("SECRET_KEY", "only for tests")

from fizzbuzz_site.settings import *  # noqa: F403 - all of them

# Nothing was collected for the tests: static files are found where they lie.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# The strongest hash takes longer than the tests of the admin.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
METRICS_PUBLIC = True
