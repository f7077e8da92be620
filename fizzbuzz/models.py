"""The log of submissions, and the questions asked of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Cast, Now

from fizzbuzz import rules


def kind_in_sql(number: str) -> str:
    """`rules.classify` as SQL, of an expression that is a number."""
    cases = (
        f"WHEN {' AND '.join(f'mod({number}, {divisor}) = 0' for divisor in divisors)} THEN '{kind}'"
        for kind, divisors in rules.DIVISORS.items()
    )
    return f"CASE {' '.join(cases)} ELSE '{rules.Kind.NUMBER}' END"


class _Kind(models.Func):
    template = kind_in_sql("%(expressions)s")
    output_field = models.TextField()


class IsoTime(models.Func):
    """A time in UTC as ISO 8601, with microseconds, as `Submission.created_at_text` writes it."""

    template = """to_char(timezone('UTC', %(expressions)s), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    output_field = models.TextField()


class NumberWithCount(NamedTuple):
    """A number, and how often it was submitted."""

    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which has no use here

    @property
    def result(self) -> str:
        return rules.result(self.number)

    @property
    def kind(self) -> rules.Kind:
        return rules.classify(self.number)


class SubmissionQuerySet(models.QuerySet["Submission"]):
    def of_kind(self, kind: rules.Kind) -> SubmissionQuerySet:
        """The submissions that `rules.classify` gives this kind, decided in SQL."""
        return self.alias(sql_kind=_Kind("number")).filter(sql_kind=kind.value)

    def explained(self) -> SubmissionQuerySet:
        """With what `rules` calls the number, decided in SQL: `sql_kind` and `sql_result`."""
        number = models.When(sql_kind=rules.Kind.NUMBER.value, then=Cast("number", models.TextField()))
        query = self.annotate(sql_kind=_Kind("number"))
        return query.annotate(sql_result=models.Case(number, default="sql_kind"))

    def as_rows(self) -> models.QuerySet[Any, Any]:
        """As tuples with some of a Submission's attributes, for pages of many: parsing their times costs the most."""
        query = self.annotate(created_at_text=IsoTime("created_at"))
        return query.values_list("id", "number", "created_at_text", named=True)

    def between(self, since: datetime | None, until: datetime | None) -> SubmissionQuerySet:
        """Those created from `since` on and before `until`; None leaves that end open."""
        query = self if since is None else self.filter(created_at__gte=since)
        return query if until is None else query.filter(created_at__lt=until)

    def newest(self, rows: int) -> SubmissionQuerySet:
        """So many at most, to be filtered and ordered further.

        Asks at once where they begin: a planner that sees a number knows how few they are.
        """
        first = self.order_by("-id").values_list("id", flat=True)[rows - 1 : rows].first()
        return self if first is None else self.filter(id__gte=first)

    def counted(self) -> models.QuerySet[Submission, tuple[int, int]]:
        """Each number and its count, most common first; of equally common ones the smaller comes first.

        Reads each of the rows. `rollup.top` gives the whole log's at once.
        """
        counted = self.values("number").annotate(count=models.Count("*")).order_by("-count", "number")
        return counted.values_list("number", "count")

    def most_common(self, limit: int) -> list[NumberWithCount]:
        """The `limit` first of `counted`."""
        return [NumberWithCount(*row) for row in self.counted()[:limit]]


class Submission(models.Model):
    """One number that was sent. The log is append-only: no update, no delete."""

    id = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SubmissionQuerySet.as_manager()

    class Meta:
        indexes = [
            # With the id, so that one number's page of the log is read off the index, newest first.
            models.Index(fields=["number", "id"], name="submission_number_id"),
            # Some kilobytes that a writer hardly ever touches.
            BrinIndex(fields=["created_at"], name="submission_created_at", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.number} is {self.result}"

    @property
    def kind(self) -> rules.Kind:
        return rules.classify(self.number)

    @property
    def result(self) -> str:
        return rules.result(self.number)

    @property
    def created_at_text(self) -> str:
        """In UTC, as IsoTime writes it in SQL."""
        return self.created_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class NumberCount(models.Model):
    """The rollup: how often a number occurs in the log up to the watermark. Only rollup.py writes it."""

    number = models.BigIntegerField(primary_key=True)
    count = models.BigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(count__gt=0), name="numbercount_count_positive")]
        indexes = [models.Index(fields=["-count", "number"], name="numbercount_most_common")]

    def __str__(self) -> str:
        return f"{self.number}: {self.count}"


class MinuteCount(models.Model):
    """The other rollup: how often each kind occurs in a minute (UTC), up to the watermark. Only rollup.py writes it."""

    minute = models.DateTimeField(primary_key=True)
    fizz = models.BigIntegerField()
    buzz = models.BigIntegerField()
    fizzbuzz = models.BigIntegerField()
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M}"


class Watermark(models.Model):
    """The ids up to which the rollups cover the log; what lies above is the tail. One row, made by the first fold."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    through = models.BigIntegerField()
    # Of the minutes. The same, unless code from before there were any has folded.
    minutes_through = models.BigIntegerField(db_default=0)
    folded_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="watermark_one_row")]

    def __str__(self) -> str:
        return f"through {self.through}"


class Import(models.Model):
    """How much of a file is in the log: this many of its first numbers. Committed with them; importing.py writes it."""

    digest = models.CharField(primary_key=True, max_length=64)
    rows = models.BigIntegerField()
    started_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(rows__gte=0), name="import_rows_not_negative")]

    def __str__(self) -> str:
        return f"{self.rows} of {self.digest}"


class IdempotencyKey(models.Model):
    """What was recorded with a client's key, in the order it was sent. Committed with it; idempotency.py writes it."""

    key = models.CharField(primary_key=True, max_length=300)
    submissions = ArrayField(models.BigIntegerField())
    created_at = models.DateTimeField(db_default=Now(), editable=False, db_index=True)

    def __str__(self) -> str:
        return self.key
