"""The template data folder: an initialised, migrated and stopped embedded PostgreSQL. Tests start from copies."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service import collect_static, manage

RUN_DIR = Path(os.environ["TEST_RUN_DIR"])  # set by tests/settings.py
TEMPLATE = RUN_DIR / "template"


@contextmanager
def data_dir() -> Iterator[Path]:
    """Create a copy of the template, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="fizzbuzz test ", dir=RUN_DIR) as folder:
        Path(folder).chmod(0o711)  # started by root, PostgreSQL runs as another user
        copy = Path(folder, "var")
        copy.mkdir()
        copy_to(copy)
        yield copy


def copy_to(data_dir: Path) -> None:
    prepare()
    subprocess.run(["cp", "-a", f"{TEMPLATE}/.", data_dir], check=True)


def prepare() -> None:
    """Create the template and collect static files, once for all of pytest's workers."""
    with (RUN_DIR / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not TEMPLATE.exists():
            collect_static()
            unfinished = TEMPLATE.with_suffix(".new")
            assert manage("migrate", "--verbosity=0", DATA_DIR=str(unfinished)).communicate() == ("", "")
            (unfinished / "secret_key").unlink()  # each copy creates its own
            with (unfinished / "postgres/data/postgresql.conf").open("a") as configuration:
                # Linux has it: faster after a kill -9.
                configuration.write("recovery_init_sync_method = syncfs\n" if sys.platform == "linux" else "")
            unfinished.rename(TEMPLATE)
