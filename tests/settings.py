"""The service's settings, with an embedded database of the tests' own unless DATABASE_URL names another."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# A folder for this run: pytest's workers inherit it, and the process that made it removes it at its end.
if "TEST_RUN_DIR" not in os.environ:
    run_dir = Path(tempfile.mkdtemp(prefix="fizzbuzz-tests-"))
    run_dir.chmod(0o711)  # started by root, PostgreSQL runs as another user
    os.environ["TEST_RUN_DIR"] = str(run_dir)
    # Registered before the server's own leave, and so run after it.
    atexit.register(shutil.rmtree, run_dir, ignore_errors=True)
if not os.environ.get("DATABASE_URL"):
    # Each worker has a server of its own.
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="own-", dir=os.environ["TEST_RUN_DIR"])
    Path(os.environ["DATA_DIR"]).chmod(0o711)
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
