"""Every address. `/health` and `/health/live` are answered ahead of these, in probes.py."""

from __future__ import annotations

from axes.middleware import AxesMiddleware
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView, TemplateView
from rest_framework.routers import DefaultRouter

from fizzbuzz import metrics, views, views_stats
from fizzbuzz.api.problem_types import PROBLEM_TYPES
from fizzbuzz.api.schema import SchemaView
from fizzbuzz.api.viewsets import MostCommonViewSet, NumberViewSet, SubmissionViewSet
from fizzbuzz_site.info import info

api = DefaultRouter(trailing_slash=False)
api.register("fizzbuzz", SubmissionViewSet, "submission")
api.register("numbers", NumberViewSet, "number")
api.register("most_common", MostCommonViewSet, "most-common")

urlpatterns = [
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/", include(api.urls)),
    path("", views.home, name="home"),
    path("live", views.live, name="live"),
    path("numbers/<str:text>", views.number, name="number"),
    path("stats", views_stats.stats, name="stats"),
    re_path(r"^stats/activity\.(?P<form>csv|jsonl)$", views_stats.figures, name="stats-activity"),
    re_path(r"^stats/most-common\.(?P<form>csv|jsonl)$", views_stats.most_common, name="stats-most-common"),
    re_path(r"^stats/submissions\.(?P<form>csv|jsonl)$", views_stats.submissions, name="stats-submissions"),
    path("docs", TemplateView.as_view(template_name="docs.html"), name="docs"),
    path(
        "docs/problems",
        TemplateView.as_view(template_name="problems.html", extra_context={"types": PROBLEM_TYPES}),
        name="problems",
    ),
    path("robots.txt", TemplateView.as_view(template_name="robots.txt", content_type="text/plain"), name="robots"),
    path("info", info, name="info"),
    path("metrics", metrics.export, name="metrics"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/login/", AxesMiddleware(admin.site.login), name="login"),
    path("admin/", admin.site.urls),
]

handler400 = "fizzbuzz.errors.bad_request"
handler403 = "fizzbuzz.errors.permission_denied"
handler404 = "fizzbuzz.errors.not_found"
handler500 = "fizzbuzz.errors.server_error"
