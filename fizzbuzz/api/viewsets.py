"""Viewsets of the API. They skip or replace parts of DRF that took half of a request's CPU time.

- Authentication, because the API has no accounts.
- Content negotiation, by that of formats.py, which reads the weights of Accept and keeps its results.
- DRF's Response, unless the client wants a page: its template takes longer than the JSON itself.
"""

import json
from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import conditional_page
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.status import HTTP_201_CREATED
from rest_framework.viewsets import GenericViewSet, ViewSet

from fizzbuzz import metrics, rules
from fizzbuzz.api import schema
from fizzbuzz.api.pagination import MAX_SCANNED_ROWS, SubmissionCursorPagination
from fizzbuzz.api.problems import InvalidQuery, problems
from fizzbuzz.api.serializers import (
    BatchSerializer,
    MostCommonQuery,
    MostCommonSerializer,
    NumberSerializer,
    Query,
    SubmissionFilters,
    SubmissionSerializer,
    SubmitSerializer,
)
from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.counts import ranking
from fizzbuzz.counts.ranking import StaleTop
from fizzbuzz.models import NumberWithCount, Submission
from fizzbuzz.submissions import idempotency, record

# Shared by all requests, because each new instance copies its fields. Validation and representation do not change them.
SUBMIT = SubmitSerializer()
BATCH = BatchSerializer()
SUBMISSION = SubmissionSerializer()
NUMBER = NumberSerializer()
NO_PARAMETERS = Query()
BATCHES = Bulkhead("batches", limit=2, wait_seconds=5)  # each takes up to tenths of a second of CPU
STALE = '110 - "Response is stale: a database worker is unreachable"'
RECORDING_PROBLEMS = problems(400, 406, 408, 409, 411, 413, 415, 422, 429, 503)

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # shared: Python makes one per call


def answer(request: Request, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponseBase:
    """Return a response like DRF's Response. The data may contain only JSON types."""
    if request.accepted_media_type != JSONRenderer.media_type:  # a browser, or a program that wants it indented
        return Response(data, status, headers=headers)
    return HttpResponse(_encode(data).encode(), JSONRenderer.media_type, status, headers=headers)


class BaseViewSet(ViewSet):
    queries: dict[str, Query] = {}  # by action

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action:  # not if the method is not allowed
            self.query = self.queries.get(self.action, NO_PARAMETERS).parse(request)

    def perform_authentication(self, request: Request) -> None:
        pass


class SubmissionViewSet(BaseViewSet, GenericViewSet):
    """Submissions: record numbers and read the log."""

    queries = {"list": SubmissionFilters()}
    queryset = Submission.objects.all()
    serializer_class = SubmitSerializer
    pagination_class = SubmissionCursorPagination
    lookup_value_regex = "[0-9]{1,19}"

    @extend_schema(
        summary="The log of submissions, newest first",
        description=(
            f"With `kind` and without `number`, a page scans {MAX_SCANNED_ROWS:,} rows of the log. It may have fewer "
            f"than {SubmissionCursorPagination.page_size} results, or none, although older ones follow: the log ends "
            "where `next` is null."
        ),
        parameters=[SubmissionFilters],
        responses={200: SubmissionSerializer(many=True), **problems(400, 404, 406, 503)},
    )
    def list(self, request: Request) -> HttpResponseBase:
        number, kind = self.query.get("number"), self.query.get("kind")
        log = Submission.objects.all()
        if number is not None:
            # A number has one kind: with another kind, no rows match.
            log = log.filter(number=number) if kind in {None, rules.classify(number)} else log.none()
        elif kind is not None:
            log = log.of_kind(rules.Kind(kind))
        page: Any = self.paginator
        rows = page.paginate(log, request, MAX_SCANNED_ROWS if kind is not None and number is None else None)
        links = {"next": page.get_next_link(), "previous": page.get_previous_link()}
        return answer(request, {**links, "results": [SUBMISSION.to_representation(each) for each in rows]})

    @extend_schema(summary="One submission", responses={200: SubmissionSerializer, **problems(404, 406, 503)})
    def retrieve(self, request: Request, pk: str) -> HttpResponseBase:
        rows = Submission.objects.filter(pk=pk).rows()
        if not rows:
            raise Http404("There is no submission with this ID.")
        return answer(request, SUBMISSION.to_representation(rows[0]))

    @extend_schema(
        summary="Submit a number",
        description="Classifies the number and records it. The record is on disk when the response is sent.",
        parameters=[schema.KEY_PARAMETER],
        responses={201: SubmissionSerializer, **RECORDING_PROBLEMS},
    )
    def create(self, request: Request) -> HttpResponseBase:
        number = SUBMIT.run_validation(request.data)["number"]
        (submission,), headers = self._record([number], "api")
        headers = {"Location": f"{request.path}/{submission.id}", **headers}
        return answer(request, SUBMISSION.to_representation(submission), HTTP_201_CREATED, headers)

    @extend_schema(
        summary="Submit many numbers",
        description="Either all numbers are recorded or none. The response lists them in the order of the request.",
        parameters=[schema.KEY_PARAMETER],
        responses={201: SubmissionSerializer(many=True), **RECORDING_PROBLEMS},
        filters=False,
    )
    @action(detail=False, methods=["post"], serializer_class=BatchSerializer, pagination_class=None)
    def batch(self, request: Request) -> HttpResponseBase:
        with BATCHES.slot():
            ranking.require_short_tail(0.5)  # batches wait before reads do
            submissions, headers = self._record(BATCH.run_validation(request.data)["numbers"], "batch")
            data = [SUBMISSION.to_representation(each) for each in submissions]
            return answer(request, data, HTTP_201_CREATED, headers)

    def _record(self, numbers: Sequence[int], channel: metrics.Channel) -> tuple[Sequence[Submission], dict[str, str]]:
        """Return the submissions, and the headers of the response."""
        key = self.request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is not None:
            submissions, replayed = idempotency.record_once(numbers, channel, key)
            return submissions, {"Idempotency-Replayed": "true"} if replayed else {}
        if channel == "batch":
            return record.record_batch(numbers, channel), {}
        return [record.record_one(numbers[0], channel)], {}


class NumberViewSet(BaseViewSet):
    """Numbers, whether or not they were ever submitted."""

    lookup_field = "number"
    lookup_value_regex = "[^/]+"

    @extend_schema(
        summary="Classify a number without recording it",
        responses={200: NumberSerializer, **problems(404, 406, 503)},
        parameters=[schema.NUMBER_PARAMETER],
    )
    def retrieve(self, request: Request, number: str) -> HttpResponseBase:
        try:
            value = rules.parse_number(number)
        except rules.InvalidNumber as error:
            raise Http404(str(error)) from error
        return answer(request, NUMBER.to_representation(NumberWithCount(value, ranking.shared_count_of(value))))


class MostCommonViewSet(BaseViewSet):
    """The most frequently submitted numbers."""

    queries = {"list": MostCommonQuery()}

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return conditional_page(super().as_view(*args, **kwargs))  # method_decorator would wrap each request again

    @extend_schema(
        summary="The most common numbers",
        description=(
            "Most common first; on a tie the smaller number comes first. `since` and `until` select a time range, "
            "which is counted from the log: a range that takes too long to count is rejected with 400, too many "
            "concurrent ones with 429. A time without an offset is UTC, and `+` must be sent as `%2B`."
        ),
        parameters=[MostCommonQuery],
        responses={
            200: MostCommonSerializer(many=True),
            304: OpenApiResponse(description="Unchanged since the response whose ETag was sent as If-None-Match"),
            **problems(400, 406, 412, 429, 503),
        },
    )
    def list(self, request: Request) -> HttpResponseBase:
        try:
            in_range = {"since", "until"} & self.query.keys()
            top = ranking.top_between(**self.query) if in_range else ranking.shared_top(self.query["limit"])
        except ranking.TimeRangeTooWide as error:
            raise InvalidQuery({"since": [str(error)]}) from error
        headers = {"Cache-Control": "no-cache"}  # clients revalidate by ETag on every request
        if isinstance(top, StaleTop):
            headers["Warning"] = STALE
        return answer(request, [NUMBER.to_representation(each) for each in top], headers=headers)
