"""The log of submissions, and the questions asked of it."""

from __future__ import annotations

from typing import NamedTuple

from django.db import models
from django.db.models.functions import Now

from fizzbuzz import rules


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
        divisors = {divisor for each in rules.DIVISORS.values() for divisor in each}
        wanted = set(rules.DIVISORS.get(kind, ()))
        query = self
        for divisor in sorted(divisors):
            query = query.alias(**{f"modulo_{divisor}": models.F("number") % divisor})
            condition = models.Q(**{f"modulo_{divisor}": 0})
            query = query.filter(condition if divisor in wanted else ~condition)
        return query

    def most_common(self, limit: int) -> list[NumberWithCount]:
        """The `limit` most submitted numbers; of equally common ones the smaller comes first."""
        counted = self.values("number").annotate(count=models.Count("*")).order_by("-count", "number")
        return [NumberWithCount(*row) for row in counted.values_list("number", "count")[:limit]]

    def count_of(self, number: int) -> int:
        return self.filter(number=number).count()


class Submission(models.Model):
    """One number that was sent. The log is append-only: no update, no delete."""

    id = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SubmissionQuerySet.as_manager()

    class Meta:
        # With the id, so that one number's page of the log is read off the index, newest first.
        indexes = [models.Index(fields=["number", "id"], name="submission_number_id")]

    def __str__(self) -> str:
        return f"{self.number} is {self.result}"

    @property
    def kind(self) -> rules.Kind:
        return rules.classify(self.number)

    @property
    def result(self) -> str:
        return rules.result(self.number)
