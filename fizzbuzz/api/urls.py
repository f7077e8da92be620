"""URLs of the API and its documentation."""

from __future__ import annotations

from django.urls import include, path
from django.views.generic import TemplateView
from rest_framework.routers import DefaultRouter

from fizzbuzz.api.problem_types import PROBLEM_TYPES
from fizzbuzz.api.schema import SchemaView
from fizzbuzz.api.viewsets import MostCommonViewSet, NumberViewSet, SubmissionViewSet

router = DefaultRouter(trailing_slash=False)
router.register("fizzbuzz", SubmissionViewSet, "submission")
router.register("numbers", NumberViewSet, "number")
router.register("most_common", MostCommonViewSet, "most-common")

urlpatterns = [
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/", include(router.urls)),
    path("docs", TemplateView.as_view(template_name="docs.html"), name="docs"),
    path(
        "docs/problems",
        TemplateView.as_view(template_name="problems.html", extra_context={"types": PROBLEM_TYPES}),
        name="problems",
    ),
]
