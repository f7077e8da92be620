"""Files of numbers become rows of the log: a file whole and once, however often its import is interrupted."""

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
from fizzbuzz.counts import fold_scheduler, folding
from fizzbuzz.models import Import
from fizzbuzz.submissions import record

CHUNK = 50_000  # rows in one transaction
PIECE = 1 << 20  # bytes that are read at once; no line may be longer
MAX_SHOWN_CHARS = 40  # characters of a bad line

_WIDTH = array("q").itemsize


class BadLine(ValueError):
    """What stands in this line is no number. Its text is ASCII and short, whatever the line is."""

    def __init__(self, line: int, found: str | bytes, problem: str = rules.EXPECTED) -> None:
        shown = ascii(found[:MAX_SHOWN_CHARS]) + ("..." if len(found) > MAX_SHOWN_CHARS else "")
        super().__init__(f"line {line}: {shown}: {problem}")


class ValidatedFile(NamedTuple):
    """Numbers that were all found good, put aside: so what is recorded is what was checked."""

    digest: str
    rows: int
    spool: IO[bytes]

    def chunk(self, start: int) -> array[int]:
        self.spool.seek(start * _WIDTH)
        return array("q", self.spool.read(CHUNK * _WIDTH))


def check(file: IO[bytes], column: str | None, spool: IO[bytes], progress: Callable[[int], object]) -> ValidatedFile:
    """Reads one number a line, or a column of a CSV, and tells `progress` how many bytes. Raises BadLine."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        while piece := file.read(PIECE) + file.readline(PIECE):
            digest.update(piece)
            progress(len(piece))
            yield piece

    lines = _lines(_utf8(pieces()))
    numbers = _numbers(_plain(lines) if column is None else _column(lines, column))
    rows = 0
    while chunk := array("q", islice(numbers, CHUNK)):
        chunk.tofile(spool)
        rows += len(chunk)
    if column is not None:  # another column of the same file is another import
        digest.update(b"\0" + column.encode(errors="surrogateescape"))
    return ValidatedFile(digest.hexdigest(), rows, spool)


def find_previous_import(checked: ValidatedFile) -> Import | None:
    """An earlier import of the same."""
    return Import.objects.filter(digest=checked.digest).first()


def load(checked: ValidatedFile) -> Iterator[int]:
    """Record what is not yet recorded; yield after each chunk how many of the numbers are by now.

    A chunk is folded while the next is loaded. How far it can be folded is found before: the next one is a writer, too.
    """
    done = 0
    folded: Future[None] | None = None
    with ThreadPoolExecutor(1) as beside:
        while done < checked.rows:
            done = _load_chunk(checked)
            if folded:
                folded.result()
            folded = beside.submit(_fold, folding.find_fold_limit())
            yield done
        if folded:
            folded.result()


def _fold(limit: folding.FoldLimit) -> None:
    try:
        fold_scheduler.fold_when_settled(limit)
    except folding.LogReplaced:
        pass  # the next chunk's fold begins anew
    finally:
        connection.close()  # this thread's own


def _load_chunk(checked: ValidatedFile) -> int:
    with transaction.atomic(durable=True):
        Import.objects.bulk_create([Import(digest=checked.digest, rows=0)], ignore_conflicts=True)
        # Another process may be at the same file: who gets the row goes on where the other stopped.
        held = Import.objects.select_for_update().get(digest=checked.digest)
        chunk = checked.chunk(held.rows)
        record.load(chunk)
        held.rows += len(chunk)
        held.save(update_fields=["rows"])
    return held.rows


def _utf8(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces; those of a file in UTF-16 with a byte order mark, as spreadsheets write it, in UTF-8."""
    first = next(pieces, b"")
    if not first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield first
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    line, rest = 1, ""
    for piece in chain([first], pieces, [b""]):
        try:
            text = rest + decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise BadLine(line, rest, "Here or below, this is not UTF-16.") from None
        end = len(text) if not piece else text.rfind("\n") + 1
        whole, rest = text[:end], text[end:]
        line += whole.count("\n")
        if len(rest) > PIECE:
            raise BadLine(line, rest, f"No line may be over {PIECE} bytes.")
        yield whole.encode()


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of these pieces, without their ends. Each piece but the last must end a line."""
    first = 1  # line of the piece
    for piece in pieces:
        if first == 1:
            piece = piece.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
        start = piece.rfind(b"\n", 0, -1) + 1
        if len(piece) - start > PIECE:
            raise BadLine(first + piece.count(b"\n", 0, start), piece[start:], f"No line may be over {PIECE} bytes.")
        try:
            text = piece.decode()
        except UnicodeDecodeError as error:
            start = piece.rfind(b"\n", 0, error.start) + 1
            line = first + piece.count(b"\n", 0, start)
            raise BadLine(line, piece[start:].partition(b"\n")[0], "This is not UTF-8.") from None
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        yield from lines
        first += len(lines)


# Where a number is looked for: the line, and its text there, or None in a blank line.
_Cells = Iterable[tuple[int, str | None]]


def _plain(lines: Iterable[str]) -> _Cells:
    return ((line, text or None) for line, text in enumerate(lines, 1))


def _column(lines: Iterator[str], column: str) -> _Cells:
    first = next(lines, "")
    try:
        # Spreadsheets write one of these; it is the one that parts the column from the others.
        parted = (each for each in ",;\t" if column in next(csv.reader([first], delimiter=each), []))
        rows = csv.reader((line + "\n" for line in chain([first], lines)), strict=True, delimiter=next(parted, ","))
        header = next(rows, [])
        if header.count(column) != 1:
            raise BadLine(1, ",".join(header), f"The header must name the column {column!a} once.")
        index = header.index(column)
        for row in rows:
            text = row[index] if index < len(row) else ""
            yield rows.line_num, text if any(map(str.strip, row)) else None  # spreadsheets add rows of delimiters alone
    except csv.Error as error:
        raise BadLine(rows.line_num, "", f"This is no CSV: {error}.") from None


def _numbers(cells: _Cells) -> Iterator[int]:
    """Blank lines may stand at the end alone."""
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
