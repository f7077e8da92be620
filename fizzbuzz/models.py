"""The models: the log of submissions, its rollups, and the records of imports and idempotency keys."""

from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.models.functions import Cast, Now

from fizzbuzz import rules
from fizzbuzz.db import pool


def kind_in_sql(number: str) -> str:
    """Return `rules.classify` as an SQL expression, applied to the given SQL expression."""
    cases = (
        f"WHEN {' AND '.join(f'mod({number}, {divisor}) = 0' for divisor in divisors)} THEN '{kind}'"
        for kind, divisors in rules.DIVISORS.items()
    )
    return f"CASE {' '.join(cases)} ELSE '{rules.Kind.NUMBER}' END"


class _Kind(models.Func):
    template = kind_in_sql("%(expressions)s")
    output_field = models.TextField()


class IsoTime(models.Func):
    """SQL function: a time in UTC as ISO 8601 with microseconds, the same text as `Submission.created_at_text`."""

    template = """to_char(timezone('UTC', %(expressions)s), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    output_field = models.TextField()


class WithKind:
    """Kind and result of a row that has a number."""

    number: int

    @property
    def kind(self) -> rules.Kind:
        return rules.classify(self.number)

    @property
    def result(self) -> str:
        return rules.kind_and_result(self.number)[1]


class _NumberAndCount(NamedTuple):
    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which has no use here


class NumberWithCount(_NumberAndCount, WithKind):
    """A number and how often it was submitted."""


class LogRow(NamedTuple):
    """A submission as the API lists it, with its time as text."""

    id: int
    number: int
    created_at_text: str


def sql_of(queryset: models.QuerySet[Any, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return the statement and its parameters; Django has no public method for that. Raise EmptyResultSet."""
    return queryset.query.sql_with_params()


class SubmissionQuerySet(models.QuerySet["Submission"]):
    def of_kind(self, kind: rules.Kind) -> Self:
        """Filter by kind, which is computed in SQL as `rules.classify` does."""
        return self.alias(sql_kind=_Kind("number")).filter(sql_kind=kind.value)

    def with_kind(self) -> Self:
        """Annotate `sql_kind` and `sql_result`, computed in SQL as `rules` does."""
        number = models.When(sql_kind=rules.Kind.NUMBER.value, then=Cast("number", models.TextField()))
        query = self.annotate(sql_kind=_Kind("number"))
        return query.annotate(sql_result=models.Case(number, default="sql_kind"))

    def rows(self) -> list[LogRow]:
        """Return named tuples instead of Submissions, with the time as text: parsing times dominates a page's cost."""
        try:
            rows = pool.read(*sql_of(self.values_list("id", "number", IsoTime("created_at"))))
            return [LogRow._make(row) for row in rows]
        except EmptyResultSet:
            return []

    def between(self, since: datetime | None, until: datetime | None) -> Self:
        """Filter by since <= created_at < until. None leaves that end open."""
        query = self if since is None else self.filter(created_at__gte=since)
        return query if until is None else query.filter(created_at__lt=until)

    def newest(self, rows: int) -> Self:
        """Filter to the newest `rows` submissions, to be filtered and ordered further.

        This runs a query for the first id: with a constant in its place, the planner can estimate the row count.
        """
        first = self.order_by("-id").values_list("id", flat=True)[rows - 1 : rows].first()
        return self if first is None else self.filter(id__gte=first)

    def counted(self) -> models.QuerySet["Submission", tuple[int, int]]:
        """Return pairs of number and count, most common first; on a tie the smaller number comes first.

        This reads every row of the queryset. For the whole log use `counts.ranking.top`.
        """
        counted = self.values("number").annotate(count=models.Count("*")).order_by("-count", "number")
        return counted.values_list("number", "count")


class Submission(WithKind, models.Model):
    """A submitted number. The log is append-only: rows are never updated or deleted."""

    id = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SubmissionQuerySet.as_manager()

    class Meta:
        indexes = [
            # Includes the id, so that the submissions of one number are read from the index, newest first.
            models.Index(fields=["number", "id"], name="submission_number_id"),
            # BRIN takes a few kilobytes, and inserts rarely update it.
            BrinIndex(fields=["created_at"], name="submission_created_at", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.number} is {self.result}"

    @property
    def created_at_text(self) -> str:
        """The creation time in UTC, the same text as IsoTime produces in SQL."""
        return self.created_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class NumberCount(models.Model):
    """The rollup: how often a number occurs in the log up to the watermark. Written only by fizzbuzz/counts."""

    number = models.BigIntegerField(primary_key=True)
    count = models.BigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(count__gt=0), name="numbercount_count_positive")]
        indexes = [models.Index(fields=["-count", "number"], name="numbercount_most_common")]


class MinuteCount(models.Model):
    """The rollup by time: how often each kind occurs per minute (UTC), up to the watermark.

    Written only by fizzbuzz/counts. The column `number` counts the kind `Number`.
    """

    minute = models.DateTimeField(primary_key=True)
    fizz = models.BigIntegerField()
    buzz = models.BigIntegerField()
    fizzbuzz = models.BigIntegerField()
    number = models.BigIntegerField()


class Watermark(models.Model):
    """The id up to which the rollups cover the log; rows above are the tail. One row, created by the first fold."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    through = models.BigIntegerField()
    folded_at = models.DateTimeField()
    # Equal to `through`. Written for the releases up to 0.2.0, which read both and may serve beside this one.
    minutes_through = models.BigIntegerField(db_default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="watermark_one_row")]


class Import(models.Model):
    """Progress of a file import: the first `rows` numbers are recorded. Committed together with them."""

    digest = models.CharField(primary_key=True, max_length=64)
    rows = models.BigIntegerField()
    started_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(rows__gte=0), name="import_rows_not_negative")]


class IdempotencyKey(models.Model):
    """The ids recorded with a client's idempotency key, in request order. Committed together with the submissions."""

    key = models.CharField(primary_key=True, max_length=300)
    submissions = ArrayField(models.BigIntegerField())
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_index=True)
