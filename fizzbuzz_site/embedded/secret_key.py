"""Generated SECRET_KEY, for installations that do not set one."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_or_create_secret_key(data_dir: Path) -> str:
    """Return the key stored in `data_dir`, created by the first call and readable only by its owner. Raise OSError."""
    path = data_dir / "secret_key"
    data_dir.mkdir(parents=True, exist_ok=True)
    folder = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # processes that start concurrently must use the same key
        if path.exists():
            if key := path.read_text(errors="surrogateescape").strip("\0 \r\n"):
                return key
            # It was zeroed by a power failure.
            print(f"warning: {path} was empty. A new key was created: all users must log in again", file=sys.stderr)  # noqa: T201 - logging isn't configured yet
        key = get_random_secret_key()
        descriptor, new = tempfile.mkstemp(dir=data_dir, prefix="secret_key.")
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
            file.flush()
            os.fsync(descriptor)
        Path(new).rename(path)  # atomic
        os.fsync(folder)
        return key
    finally:
        os.close(folder)
