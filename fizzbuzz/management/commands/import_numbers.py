"""`manage.py import_numbers`: record every number of a file."""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError
from tqdm import tqdm

from fizzbuzz.models import Import
from fizzbuzz.submissions import importing

RESUME = "Run the same command again to resume."


class Command(BaseCommand):
    help = (
        "Records every number of a file. The whole file is validated first: if a line is invalid, nothing is recorded. "
        "If interrupted, run the same command again to resume. The same content is recorded only once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", help="one number per line, in UTF-8, or in UTF-16 with a byte order mark; - reads standard input"
        )
        parser.add_argument(
            "--column",
            metavar="NAME",
            help="read this column of a CSV file with a header, separated by commas, semicolons or tabs",
        )

    def handle(self, *, file: str, column: str | None, **options: Any) -> None:
        try:
            with opened(file) as source, tempfile.TemporaryFile() as spool:
                self._load(self._validate(source, column, spool))
        except importing.BadLine as error:
            raise CommandError(f"{error}\nNothing was recorded.") from error
        except OSError as error:
            raise CommandError(f"{error.filename or file}: {error.strerror}") from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database failed: {error}\n{RESUME}") from error
        except KeyboardInterrupt as error:
            raise CommandError(f"Interrupted. {RESUME}") from error

    def _validate(self, source: IO[bytes], column: str | None, spool: IO[bytes]) -> importing.ValidatedFile:
        size = Path(source.name).stat().st_size if source is not sys.stdin.buffer else None
        # disable=None shows the bar only on a terminal
        with tqdm(desc="checking", total=size, unit="B", unit_scale=True, disable=None) as bar:
            return importing.validate(source, column, spool, bar.update)

    def _load(self, validated: importing.ValidatedFile) -> None:
        earlier = Import.objects.filter(digest=validated.digest).first()
        done = earlier.rows if earlier else 0
        if earlier and done == validated.rows:
            self.stdout.write(
                f"This file was already imported: all {done:,} numbers, started {earlier.started_at:%Y-%m-%d %H:%M} "
                "UTC. To import it again, append a blank line."
            )
            return
        if earlier:
            self.stdout.write(f"{done:,} of {validated.rows:,} numbers were already recorded; resuming from there.")
        with tqdm(desc="recording", total=validated.rows, initial=done, unit_scale=True, disable=None) as bar:
            for recorded in importing.load(validated):
                bar.update(recorded - done)
                done = recorded
        self.stdout.write(f"{validated.rows:,} numbers recorded.")


def opened(file: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
