"""The secret key of an installation that was given none."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_or_create_secret_key(data_dir: Path) -> str:
    """Return the key kept in `data_dir`, readable by its owner alone; made on the first call. Raise OSError."""
    path = data_dir / "secret_key"
    return _read(path) or _make(path)


def _read(path: Path) -> str:
    """The key; an empty text if there is none, or only what a power cut can leave of a file."""
    with suppress(FileNotFoundError):
        return path.read_text(errors="surrogateescape").strip("\0 \r\n")
    return ""


def _make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # several processes that start at once make one key
        if key := _read(path):
            return key
        if path.exists():
            print(f"warning: {path} was empty and has a new key: everyone has to sign in again", file=sys.stderr)  # noqa: T201 - logging isn't configured yet
        key = get_random_secret_key()
        descriptor, new = tempfile.mkstemp(dir=path.parent, prefix="secret_key.")
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
            file.flush()
            os.fsync(descriptor)
        Path(new).rename(path)  # whole or not at all
        os.fsync(folder)
        return key
    finally:
        os.close(folder)
