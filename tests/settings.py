"""Settings for tests: an embedded database in a temporary folder, unless DATABASE_URL is set."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# A folder for this run. pytest's workers inherit it; the process that created it removes it.
if "TEST_RUN_DIR" not in os.environ:
    run_dir = Path(tempfile.mkdtemp(prefix="fizzbuzz-tests-"))
    run_dir.chmod(0o711)  # started by root, PostgreSQL runs as another user
    os.environ["TEST_RUN_DIR"] = str(run_dir)
    # Registered before the server's release, and so run after it.
    atexit.register(shutil.rmtree, run_dir, ignore_errors=True)
if not os.environ.get("DATABASE_URL"):
    # One server per pytest worker.
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="own-", dir=os.environ["TEST_RUN_DIR"])
    Path(os.environ["DATA_DIR"]).chmod(0o711)
os.environ.setdefault("SECRET_KEY", "only for tests, but as long as one of production")

from fizzbuzz_site.settings import *  # noqa: F403 - all of them

# Serve static files without collectstatic.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# The production hash is too slow for tests.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
METRICS_PUBLIC = True
