"""Import of files of numbers: all of a file or nothing, exactly once, and resumable after an interruption."""

from __future__ import annotations

import codecs
import csv
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import IO, NamedTuple

from django.db import connection, transaction

from fizzbuzz import rules
from fizzbuzz.counts import folding
from fizzbuzz.models import Import
from fizzbuzz.submissions import record

MAX_ROWS_PER_TRANSACTION = 50_000
FOLD_TIMEOUT_SECONDS = 5.0  # maximum wait for concurrent writers
MAX_LINE_BYTES = 1 << 20  # also the size of a read
MAX_SHOWN_CHARS = 40  # of an invalid line, in the error message

_WIDTH = array("q").itemsize


class BadLine(ValueError):
    """Invalid line in the input. The message is short and ASCII, whatever the line contains."""

    def __init__(self, line: int, found: str | bytes, problem: str = rules.EXPECTED) -> None:
        shown = ascii(found[:MAX_SHOWN_CHARS]) + ("..." if len(found) > MAX_SHOWN_CHARS else "")
        super().__init__(f"line {line}: {shown}: {problem}")


class ValidatedFile(NamedTuple):
    """The validated numbers of a file, copied to `spool`, so that exactly these are recorded."""

    digest: str
    rows: int
    spool: IO[bytes]

    def chunk(self, start: int) -> array[int]:
        self.spool.seek(start * _WIDTH)
        return array("q", self.spool.read(MAX_ROWS_PER_TRANSACTION * _WIDTH))


def validate(file: IO[bytes], column: str | None, spool: IO[bytes], progress: Callable[[int], object]) -> ValidatedFile:
    """Parse one number per line, or a column of a CSV. Call `progress` with the bytes of each read. Raise BadLine."""
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        while block := file.read(MAX_LINE_BYTES):
            digest.update(block)
            progress(len(block))
            yield block

    lines = _decode_lines(blocks())
    numbers = _parse_numbers(_plain_cells(lines) if column is None else _csv_cells(lines, column))
    rows = 0
    while chunk := array("q", islice(numbers, MAX_ROWS_PER_TRANSACTION)):
        chunk.tofile(spool)
        rows += len(chunk)
    if column is not None:  # another column of the same file is another import
        digest.update(b"\0" + column.encode(errors="surrogateescape"))
    return ValidatedFile(digest.hexdigest(), rows, spool)


def load(validated: ValidatedFile) -> Iterator[int]:
    """Record the numbers that are not recorded yet; after each chunk, yield how many of the file are recorded.

    A chunk is folded while the next one is loaded. Its fold limit is taken before, as the next chunk is a writer, too.
    """
    done = 0
    fold: Future[None] | None = None
    with ThreadPoolExecutor(1) as executor:
        while done < validated.rows:
            done = _load_chunk(validated)
            if fold:
                fold.result()
            fold = executor.submit(_fold, folding.find_fold_limit())
            yield done
        if fold:
            fold.result()


def _fold(limit: folding.FoldLimit) -> None:
    try:
        while folding.fold(limit, FOLD_TIMEOUT_SECONDS) == folding.MAX_ROWS_PER_FOLD:
            pass  # the tail may be longer than a chunk
    finally:
        connection.close()  # belongs to this thread


def _load_chunk(validated: ValidatedFile) -> int:
    with transaction.atomic(durable=True):
        # Another process may import the same file: whichever locks the row continues where the other stopped.
        progress, _ = Import.objects.select_for_update().get_or_create(digest=validated.digest, defaults={"rows": 0})
        chunk = validated.chunk(progress.rows)
        record.load(chunk)
        progress.rows += len(chunk)
        progress.save(update_fields=["rows"])
    return progress.rows


def _decode_lines(blocks: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines without their line ends: of UTF-8, or of UTF-16 with a byte order mark, as spreadsheets write it.

    No block may be longer than MAX_LINE_BYTES.
    """
    start = next(blocks, b"")
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # surrogateescape keeps invalid bytes until their line is known; the decoder of UTF-16 does not support it.
    encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8-sig", "surrogateescape")
    first, rest = 1, ""  # the first line that was not yielded yet: its number, and what was read of it
    try:
        for block in codecs.iterdecode(chain([start], blocks), encoding, errors):
            text = rest + block
            try:
                text.encode()
            except UnicodeEncodeError as error:
                before, after = text[: error.start].split("\n"), text[error.start :].split("\n", 1)
                line = (before[-1] + after[0]).encode(errors=errors)
                raise BadLine(first + len(before) - 1, line, "This line is not valid UTF-8.") from None
            lines = text.replace("\r\n", "\n").split("\n")
            if len(lines[0]) > MAX_LINE_BYTES:  # the others are parts of one block
                raise BadLine(first, lines[0], f"The line is longer than {MAX_LINE_BYTES} bytes.")
            rest = lines.pop()
            yield from lines
            first += len(lines)
    except UnicodeDecodeError:
        raise BadLine(first, rest, "This line or a later one is not valid UTF-16.") from None
    if rest:
        yield rest


# A line number, and the text that should be a number, or None for a blank line.
_Cells = Iterable[tuple[int, str | None]]


def _plain_cells(lines: Iterable[str]) -> _Cells:
    return ((line, text or None) for line, text in enumerate(lines, 1))


def _csv_cells(lines: Iterator[str], column: str) -> _Cells:
    first = next(lines, "")
    try:
        # Spreadsheets use one of these delimiters: take the one that yields the wanted column.
        found = (each for each in ",;\t" if column in next(csv.reader([first], delimiter=each), []))
        rows = csv.reader((line + "\n" for line in chain([first], lines)), strict=True, delimiter=next(found, ","))
        header = next(rows, [])
        if header.count(column) != 1:
            raise BadLine(1, ",".join(header), f"The header must contain the column {column!a} once.")
        index = header.index(column)
        for row in rows:
            text = row[index] if index < len(row) else ""
            yield rows.line_num, text if any(map(str.strip, row)) else None  # spreadsheets append rows of delimiters
    except csv.Error as error:
        raise BadLine(rows.line_num, "", f"Invalid CSV: {error}.") from None


def _parse_numbers(cells: _Cells) -> Iterator[int]:
    """Yield the numbers. Blank lines are allowed only at the end. Raise BadLine."""
    blank = 0
    for line, text in cells:
        if text is None:
            blank = blank or line
        elif blank:
            raise BadLine(blank, "")
        else:
            try:
                yield rules.parse_number(text)
            except rules.InvalidNumber:
                raise BadLine(line, text) from None
