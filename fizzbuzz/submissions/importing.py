"""Import of files of numbers: all of a file or nothing, exactly once, and resumable after an interruption."""

import codecs
import csv
import hashlib
import io
from array import array
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import IO, Any, NamedTuple

from django.db import transaction

from fizzbuzz import rules
from fizzbuzz.counts import folding
from fizzbuzz.models import Import
from fizzbuzz.submissions import record

MAX_ROWS_PER_TRANSACTION = 50_000
FOLD_TIMEOUT_SECONDS = 5.0  # maximum wait for concurrent writers
MAX_LINE_CHARS = 1 << 20
READ_BYTES = 1 << 16
MAX_SHOWN_CHARS = 40  # of an invalid line, in the error message

# What a file begins with that is not text.
_FORMATS = {
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PK\x03\x04": "a ZIP archive or a workbook, such as .xlsx",
    b"\xd0\xcf\x11\xe0": "a workbook, such as .xls",
}
_Cells = Iterator[tuple[int, str]]  # a line number, and the text that should be a number
_WIDTH = array("q").itemsize


class BadFile(ValueError):
    """The input is not what can be imported. The message is short and ASCII, whatever the file contains."""


def _bad_line(line: int, found: str, problem: str) -> BadFile:
    if "\N{REPLACEMENT CHARACTER}" in found:
        problem = "This line is not valid text in UTF-8, or in UTF-16 with a byte order mark."
    shown = ascii(found[:MAX_SHOWN_CHARS]) + ("..." if len(found) > MAX_SHOWN_CHARS else "")
    return BadFile(f"line {line}: {shown}: {problem}")


class ValidatedFile(NamedTuple):
    """The validated numbers of a file, copied to `spool`, so that exactly these are recorded."""

    digest: str
    rows: int
    spool: IO[bytes]


class _Source(io.RawIOBase):
    """The bytes of a file, hashed as they are read."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], object]) -> None:
        self.digest = hashlib.sha256()
        self._file, self._progress = file, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self.digest.update(block)
        self._progress(len(block))
        return len(block)


def validate(file: IO[bytes], column: str | None, spool: IO[bytes], progress: Callable[[int], object]) -> ValidatedFile:
    """Parse one number per line, or a column of a CSV. Call `progress` with the bytes of each read. Raise BadFile."""
    source = _Source(file, progress)
    lines = _lines(io.BufferedReader(source, READ_BYTES))
    each_line = ((line, text) for line, text in enumerate(lines, 1) if text)
    cells = each_line if column is None else _csv(lines, column, source.digest)
    numbers, rows = _numbers(cells), 0
    while chunk := array("q", islice(numbers, MAX_ROWS_PER_TRANSACTION)):
        chunk.tofile(spool)
        rows += len(chunk)
    if not rows:
        raise BadFile("The file contains no numbers.")
    return ValidatedFile(source.digest.hexdigest(), rows, spool)


def find_earlier(validated: ValidatedFile) -> Import | None:
    """Return the progress of an earlier import of this file.

    The lock makes this transaction wait for synchronous standbys, which may lack the rows of an interrupted import.
    """
    with transaction.atomic(durable=True):
        return Import.objects.select_for_update().filter(digest=validated.digest).first()


def load(validated: ValidatedFile) -> Iterator[int]:
    """Record the numbers that are not recorded yet; after each chunk, yield how many of the file are recorded."""
    done = 0
    while done < validated.rows:
        with transaction.atomic(durable=True):
            # Another process may import the same file: whichever locks the row continues where the other stopped.
            progress, _ = Import.objects.select_for_update().get_or_create(
                digest=validated.digest, defaults={"rows": 0}
            )
            validated.spool.seek(progress.rows * _WIDTH)
            chunk = array("q", validated.spool.read(MAX_ROWS_PER_TRANSACTION * _WIDTH))
            record.load(chunk)
            progress.rows += len(chunk)
            progress.save(update_fields=["rows"])
        while folding.fold(timeout_seconds=FOLD_TIMEOUT_SECONDS) == folding.MAX_ROWS_PER_FOLD:
            pass  # the tail may be longer than a chunk
        yield (done := progress.rows)


def _lines(file: io.BufferedReader) -> Iterator[str]:
    """Yield the lines of text in UTF-8, or in UTF-16 with a byte order mark. They may end as on any system."""
    start = file.peek(8)
    if found := next((name for magic, name in _FORMATS.items() if start.startswith(magic)), None):
        raise BadFile(f"The file is {found}: import it as text, such as CSV.")
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = io.TextIOWrapper(file, "utf-16" if utf16 else "utf-8-sig", errors="replace")
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE_CHARS + 1), ""), 1):
        if len(line) > MAX_LINE_CHARS:
            raise _bad_line(number, line, f"The line is longer than {MAX_LINE_CHARS} characters.")
        yield line.rstrip("\n")


def _csv(lines: Iterator[str], column: str, digest: Any) -> _Cells:
    """Yield the cells of a column. Then add its name to the digest: another column is another import."""
    first = next(lines, "")
    # Spreadsheets use one of these delimiters: take the one that yields the wanted column.
    found = (each for each in ",;\t" if _indices(next(csv.reader([first], delimiter=each), []), column))
    text = (line + "\n" for line in chain([first], lines))
    reader = csv.reader(text, strict=True, delimiter=next(found, ","))
    rows = (row for row in reader if any(map(str.strip, row)))  # spreadsheets append rows of delimiters
    try:
        header = next(rows, [])
        index, *others = _indices(header, column) or (0, 0)
        if others:
            raise _bad_line(1, ",".join(header), f"The header must contain the column {column!a} once.")
        for row in rows:
            yield reader.line_num, row[index].strip() if index < len(row) else ""
    except csv.Error as error:
        raise _bad_line(reader.line_num, "", f"Invalid CSV: {error}.") from None
    digest.update(b"\0" + header[index].encode())


def _indices(header: list[str], column: str) -> list[int]:
    """Return the positions of the column, without regard to case and blanks if its exact name is missing."""
    exact = [index for index, name in enumerate(header) if name == column]
    wanted = column.strip().casefold()
    return exact or [index for index, name in enumerate(header) if name.strip().casefold() == wanted]


def _numbers(cells: _Cells) -> Iterator[int]:
    for line, text in cells:
        try:
            yield rules.parse_number(text)
        except rules.InvalidNumber as error:
            raise _bad_line(line, text, str(error)) from None
