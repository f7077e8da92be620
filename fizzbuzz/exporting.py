"""Export of the log and of counts as CSV, JSON or JSON Lines, for downloads and commands."""

import csv
import io
import json
from collections.abc import Generator, Iterable
from typing import Any, Literal

from django.db import connection
from django.db.backends.utils import CursorWrapper
from psycopg import ClientCursor

from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.db.deadline import connect_with_deadline
from fizzbuzz.models import IsoTime, SubmissionQuerySet, sql_of

Format = Literal["csv", "jsonl"]
CONTENT_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

MIN_BLOCK_BYTES = 1 << 16  # a block ends with the row that reaches this size
BLOCK_TIMEOUT_SECONDS = 10.0  # maximum wait for the database per block
downloads = Bulkhead("downloads are running", limit=2, wait_seconds=0)

_COPY = """
    COPY (
        SELECT {what} FROM ({rows}) AS submission (id, number, result, kind, created_at) ORDER BY id
    ) TO STDOUT {options}
"""
_COPY_OPTIONS: dict[Format, dict[str, str]] = {
    "csv": {"what": "*", "options": "(FORMAT csv, HEADER)"},
    # COPY's text format would double backslashes, but these values contain none.
    "jsonl": {"what": "row_to_json(submission)", "options": ""},
}


def export_submissions(submissions: SubmissionQuerySet, format_: Format) -> Generator[bytes, None, None]:
    """Yield the submissions in blocks, oldest first, from one snapshot. Raise psycopg.Error."""
    with connection.cursor() as cursor:
        yield from _blocks(cursor, submissions, format_)


def download(submissions: SubmissionQuerySet, format_: Format) -> Generator[bytes, None, None]:
    """Like `export_submissions`, for a slow client: on a private connection, without a statement timeout.

    Raise Busy, and any error of the first block, before the response starts.
    """
    blocks = _blocks_of_own_connection(submissions, format_)
    next(blocks)  # closing a generator that was not started would do nothing
    return blocks


def _blocks_of_own_connection(submissions: SubmissionQuerySet, format_: Format) -> Generator[bytes, None, None]:
    with downloads.slot(), connect_with_deadline(BLOCK_TIMEOUT_SECONDS) as database:
        database.execute("SET LOCAL statement_timeout = 0")
        blocks = _blocks(ClientCursor(database), submissions, format_)
        first = next(blocks)
        yield b""
        yield first
        yield from blocks


def _blocks(
    cursor: CursorWrapper | ClientCursor[Any], submissions: SubmissionQuerySet, format_: Format
) -> Generator[bytes, None, None]:
    columns = ("id", "number", "sql_result", "sql_kind", IsoTime("created_at"))
    statement, params = sql_of(submissions.order_by("id").with_kind().values_list(*columns))
    block = bytearray()
    copy_out = _COPY.format(rows=statement, **_COPY_OPTIONS[format_])
    # Interpolate the parameters on the client: copy() of Django's debug cursor does not accept any.
    with cursor.copy(cursor.mogrify(copy_out, params)) as copy:
        for row in copy:
            block += row
            if len(block) >= MIN_BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    yield bytes(block)


def export_rows(columns: Iterable[str], rows: Iterable[Iterable[Any]], format_: Format | Literal["json"]) -> bytes:
    """Return the rows as a file; the format "json" is one array of objects."""
    out = io.StringIO()
    if format_ == "csv":
        csv.writer(out, lineterminator="\n").writerows([columns, *rows])
    else:
        objects = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        out.writelines([f"[{', '.join(objects)}]\n"] if format_ == "json" else [each + "\n" for each in objects])
    return out.getvalue().encode()
