"""URLs of the API and its documentation."""

from django.urls import include, path
from django.views.generic import TemplateView
from rest_framework.routers import DefaultRouter

from fizzbuzz.api.problem_types import PROBLEM_TYPES
from fizzbuzz.api.schema import SchemaView
from fizzbuzz.api.viewsets import MostCommonViewSet, NumberViewSet, SubmissionViewSet

router = DefaultRouter(trailing_slash=False)
router.include_format_suffixes = False  # the views take none
router.register("most_common", MostCommonViewSet, "most-common")
router.register("fizzbuzz", SubmissionViewSet, "submission")
router.register("numbers", NumberViewSet, "number")

urlpatterns = [
    path("api/", include([*router.urls, path("schema", SchemaView.as_view(), name="schema")])),
    path("docs", TemplateView.as_view(template_name="docs.html"), name="docs"),
    path(
        "docs/problems",
        TemplateView.as_view(template_name="problems.html", extra_context={"types": PROBLEM_TYPES}),
        name="problems",
    ),
]
