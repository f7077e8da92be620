"""`manage.py import_numbers`: record every number of a file."""

import os
import sys
import tempfile
from argparse import ArgumentParser
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from tqdm import tqdm

from fizzbuzz.db.faults import foreseeable
from fizzbuzz.submissions import importing

RESUME = "Run the same command again to resume."


class Command(BaseCommand):
    help = (
        "Records every number of a file. The whole file is validated first: if a line is invalid, nothing is recorded. "
        "If interrupted, run the same command again to resume. The same content is recorded only once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        lines = "one number per line, in UTF-8, or in UTF-16 with a byte order mark; - reads standard input"
        parser.add_argument("file", help=lines)
        column = "read this column of a CSV file with a header, separated by commas, semicolons or tabs"
        parser.add_argument("--column", metavar="NAME", help=column)

    def handle(self, *, file: str, column: str | None, **options: Any) -> None:
        is_stdin = file == "-"
        try:
            with (
                nullcontext(sys.stdin.buffer) if is_stdin else Path(file).open("rb") as source,
                tempfile.TemporaryFile() as spool,
            ):
                size = None if is_stdin else Path(file).stat().st_size
                with progress(desc="checking", total=size, unit="B") as bar:
                    validated = importing.validate(source, column, spool, bar.update)
                self._load(validated)
        except importing.BadFile as error:
            raise CommandError(f"{error} Nothing was recorded.") from error
        except Error as error:
            if not (message := foreseeable(error)):
                raise
            raise CommandError(f"The database failed: {message}. {RESUME}") from error
        except KeyboardInterrupt as error:
            raise CommandError(f"Interrupted. {RESUME}") from error

    def _load(self, validated: importing.ValidatedFile) -> None:
        earlier = importing.find_earlier(validated)
        done = earlier.rows if earlier else 0
        if earlier and done == validated.rows:
            self.stdout.write(
                f"This file was already imported: all {done:,} numbers, started {earlier.started_at:%Y-%m-%d %H:%M} "
                "UTC. To import it again, append a blank line."
            )
            return
        if earlier:
            self.stdout.write(f"{done:,} of {validated.rows:,} numbers were already recorded; resuming from there.")
        with progress(desc="recording", total=validated.rows, initial=done) as bar:
            for recorded in importing.load(validated):
                bar.update(recorded - bar.n)
        self.stdout.write(f"{validated.rows:,} numbers recorded.")


def progress(**options: Any) -> Any:
    """Return a progress bar, which is shown only on a terminal that can redraw a line."""
    return tqdm(unit_scale=True, disable=True if os.environ.get("TERM") == "dumb" else None, **options)
