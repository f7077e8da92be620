"""Cursor pagination of the log, newest first."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from fizzbuzz import rules
from fizzbuzz.models import LogRow, Submission, SubmissionQuerySet

MAX_SCANNED_ROWS = 10_000  # about 1 ms; an index on the kind would make bulk inserts take 1.5 times as long


class SubmissionCursorPagination(CursorPagination):
    """Pages of 100, newest first. The position is an id; ids are unique, so no offset is needed.

    DRF documents neither `encode_cursor` nor `decode_cursor`, and has nothing else that writes and reads its cursors.
    """

    page_size = 100
    ordering = "-id"

    def paginate(self, queryset: SubmissionQuerySet, request: Request, max_rows: int | None) -> list[LogRow]:
        """Return a page. It scans at most `max_rows` rows; the next page begins there.

        The position of a cursor is the id before its page. Of the ids 1 to 250, the second page is 150 to 51: the
        position of the next page is 51, and that of the previous one, which is read in reverse, is 150.
        """
        self.base_url = request.build_absolute_uri()
        cursor = self.decode_cursor(request) or Cursor(0, reverse=False, position=None)
        forward, backward, order = ("id__gt", "id__lte", "id") if cursor.reverse else ("id__lt", "id__gte", "-id")
        position = None if cursor.position is None else self._parse(cursor.position)
        beyond = {} if position is None else {forward: position}
        end = _end_of_scan(beyond, order, max_rows)
        within = {} if end is None else {backward: end}
        rows = queryset.filter(**beyond, **within).order_by(order)[: self.page_size + 1].rows()
        page = rows[: self.page_size]
        if len(rows) > self.page_size:
            end = page[-1].id
        begin = None if position is None else position + (1 if cursor.reverse else -1)
        self.newer, self.older = (end, begin) if cursor.reverse else (begin, end)
        self.display_page_controls = self.newer is not None or self.older is not None
        return page[::-1] if cursor.reverse else page

    def get_next_link(self) -> str | None:
        return self._link(self.older, reverse=False)

    def get_previous_link(self) -> str | None:
        return self._link(self.newer, reverse=True)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a page in OpenAPI 3.1, where null is a type."""
        link = {"type": ["string", "null"], "format": "uri", "example": None}
        properties = {"next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}

    def _parse(self, position: object) -> int:
        try:
            # Clamped so that position - 1 and position + 1 are valid ids, too.
            return min(max(rules.parse_number(position), 0), rules.LARGEST - 1)
        except rules.InvalidNumber as error:
            raise NotFound(self.invalid_cursor_message) from error

    def _link(self, position: int | None, *, reverse: bool) -> str | None:
        return None if position is None else self.encode_cursor(Cursor(0, reverse, str(position)))  # type: ignore[arg-type]  # DRF itself passes text


def _end_of_scan(beyond: dict[str, int], order: str, max_rows: int | None) -> int | None:
    """Return the last id that this page may scan; None if the scan is not limited or the log ends before."""
    if max_rows is None:
        return None
    ids = Submission.objects.filter(**beyond).order_by(order).values_list("id", flat=True)
    last, *more = ids[max_rows - 1 : max_rows + 1] or [None]
    return last if more else None
