"""Generated SECRET_KEY, for installations that do not set one."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_or_create_secret_key(data_dir: Path) -> str:
    """Return the key stored in `data_dir`, created by the first call and readable only by its owner. Raise OSError."""
    path = data_dir / "secret_key"
    return _read(path) or _create(path)


def _read(path: Path) -> str:
    """Return the key; an empty string if the file is missing, or was zeroed by a power failure."""
    with suppress(FileNotFoundError):
        return path.read_text(errors="surrogateescape").strip("\0 \r\n")
    return ""


def _create(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # processes that start concurrently must use the same key
        if key := _read(path):
            return key
        if path.exists():
            print(f"warning: {path} was empty. A new key was created: all users must log in again", file=sys.stderr)  # noqa: T201 - logging isn't configured yet
        key = get_random_secret_key()
        descriptor, new = tempfile.mkstemp(dir=path.parent, prefix="secret_key.")
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
            file.flush()
            os.fsync(descriptor)
        Path(new).rename(path)  # atomic
        os.fsync(folder)
        return key
    finally:
        os.close(folder)
