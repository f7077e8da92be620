"""`manage.py import_numbers`: a file of numbers becomes submissions."""

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

from fizzbuzz.submissions import importing

GO_ON = "The same command goes on where this one stopped."


class Command(BaseCommand):
    help = (
        "Records every number of a file. The whole file is checked first: if a line is no number, nothing is recorded. "
        "Interrupted, the same command goes on where it stopped; a file's content is recorded only once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", help="one number a line, in UTF-8, or in UTF-16 with a byte order mark; - reads standard input"
        )
        parser.add_argument(
            "--column",
            metavar="NAME",
            help="the file is a CSV with a header, separated by commas, semicolons or tabs: take this column",
        )

    def handle(self, *, file: str, column: str | None, **options: Any) -> None:
        try:
            with opened(file) as source, tempfile.TemporaryFile() as spool:
                checked = self._check(source, column, spool)
                self._load(checked)
        except importing.BadLine as error:
            raise CommandError(f"{error}\nNothing was recorded.") from error
        except OSError as error:
            raise CommandError(f"{error.filename or file}: {error.strerror}") from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database failed: {error}\n{GO_ON}") from error
        except KeyboardInterrupt as error:
            raise CommandError(f"Interrupted. {GO_ON}") from error

    def _check(self, source: IO[bytes], column: str | None, spool: IO[bytes]) -> importing.ValidatedFile:
        size = Path(source.name).stat().st_size if source is not sys.stdin.buffer else None
        # disable=None: no bar unless a person looks at it
        with tqdm(desc="checking", total=size, unit="B", unit_scale=True, disable=None) as bar:
            return importing.check(source, column, spool, bar.update)

    def _load(self, checked: importing.ValidatedFile) -> None:
        earlier = importing.find_previous_import(checked)
        done = earlier.rows if earlier else 0
        if earlier and done == checked.rows:
            self.stdout.write(
                f"All {done:,} numbers are recorded already, by an import of {earlier.started_at:%Y-%m-%d %H:%M} UTC. "
                "A content is recorded once; to record it again, add a blank line at its end."
            )
            return
        if earlier:
            self.stdout.write(f"{done:,} of {checked.rows:,} numbers are recorded already; going on from there.")
        with tqdm(desc="recording", total=checked.rows, initial=done, unit_scale=True, disable=None) as bar:
            for recorded in importing.load(checked):
                bar.update(recorded - done)
                done = recorded
        self.stdout.write(f"{checked.rows:,} numbers recorded.")


def opened(file: str) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb")
