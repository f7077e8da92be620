"""Generated SECRET_KEY, for the embedded database."""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key

from fizzbuzz_site.embedded.programs import sync


def load_or_create_secret_key(data_dir: Path) -> str:
    """Return the key stored in `data_dir`, created by the first call and readable only by its owner. Raise OSError."""
    path = data_dir / "secret_key"
    if path.exists():
        if key := path.read_text(errors="surrogateescape").strip("\0 \r\n"):
            return key
        path.unlink()  # zeroed by a power failure
        print(f"warning: {path} was empty. A new key was created: all users must log in again", file=sys.stderr)  # noqa: T201 - logging isn't configured yet
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=data_dir, prefix="secret_key.") as file:
        file.write(get_random_secret_key())
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):  # of a process that started concurrently: its key is the one to use
            os.link(file.name, path)
    sync(data_dir)
    return path.read_text()
