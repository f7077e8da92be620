"""The log in Django's admin: read-only, with lists that are bounded whatever its length."""

from typing import Any

import psycopg
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import EmptyResultSet, PermissionDenied
from django.core.paginator import Paginator
from django.db import OperationalError, connection, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.views.decorators.http import require_safe

from fizzbuzz import exporting, rules
from fizzbuzz.models import Submission, SubmissionQuerySet

MAX_LISTED_ROWS = 10_000  # rows reachable by paging; search and filters find older ones
LIST_TIMEOUT_SECONDS = 5  # statement timeout of a list

admin.site.site_header = admin.site.site_title = "FizzBuzz administration"


class BoundedPaginator(Paginator):
    """Paginator of the first MAX_LISTED_ROWS rows, so that counting is bounded, too."""

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:MAX_LISTED_ROWS].count()  # type: ignore[attr-defined]  # not any sequence


class KindFilter(admin.SimpleListFilter):
    title = parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, kind.value) for kind in rules.Kind]

    def queryset(self, request: HttpRequest, queryset: SubmissionQuerySet) -> SubmissionQuerySet:  # type: ignore[override]  # a narrower queryset type
        kind = self.value()
        try:
            return queryset.of_kind(rules.Kind(kind)) if kind else queryset
        except ValueError as error:
            raise IncorrectLookupParameters from error


@admin.register(Submission)
class SubmissionAdmin(admin.ModelAdmin):
    list_display = ("id", "number", "kind", "created_at")
    list_filter = (KindFilter, "created_at")
    ordering = ("-id",)
    sortable_by = ("id",)
    search_fields = ("number",)
    search_help_text = "One whole number."
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    actions = None

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the lookups of the list filters: a regular expression could be invalid or run for very long."""
        if lookup not in {"kind", "created_at__gte", "created_at__lt"}:
            raise IncorrectLookupParameters
        return True

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Submission], search_term: str
    ) -> tuple[QuerySet[Submission], bool]:
        if not (text := rules.without_invisible_ends(search_term)):
            return queryset, False
        try:
            return queryset.filter(number=rules.parse_number(text)), False
        except rules.InvalidNumber as error:
            messages.error(request, str(error))
            return queryset.none(), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{LIST_TIMEOUT_SECONDS}s"])
                response = super().changelist_view(request, {"max_rows": MAX_LISTED_ROWS, **(extra_context or {})})
                return response.render() if hasattr(response, "render") else response
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            messages.error(
                request,
                f"The query took longer than {LIST_TIMEOUT_SECONDS} s. Search for one number or choose a shorter time.",
            )
            return redirect("admin:index")

    def get_urls(self) -> list[URLPattern]:
        download = self.admin_site.admin_view(require_safe(self.download))
        return [path("download/", download, name="fizzbuzz_submission_download"), *super().get_urls()]

    def download(self, request: HttpRequest) -> HttpResponseBase:
        """Download all rows that match the list's search and filters, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            # Django documents no method that returns the rows of a list. This one also counts those that a list shows.
            download = exporting.download(self.get_changelist_instance(request).queryset, "csv")
        except (IncorrectLookupParameters, EmptyResultSet):  # the list view shows the reason
            return redirect("../")
        name = {"Content-Disposition": 'attachment; filename="submissions.csv"'}
        return StreamingHttpResponse(download, content_type="text/csv", headers=name)

    def _forbidden(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    has_add_permission = has_change_permission = has_delete_permission = _forbidden
