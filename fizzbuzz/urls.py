"""URLs of the API, its documentation and the HTML pages."""

from django.urls import include, path, re_path
from django.views.generic import TemplateView
from rest_framework.routers import DefaultRouter

from fizzbuzz.api.problems import PROBLEM_TYPES
from fizzbuzz.api.schema import SchemaView
from fizzbuzz.api.viewsets import MostCommonViewSet, NumberViewSet, SubmissionViewSet
from fizzbuzz.pages import stats, views

router = DefaultRouter(trailing_slash=False)
router.include_format_suffixes = False  # the views take none
router.register("most_common", MostCommonViewSet, "most-common")
router.register("fizzbuzz", SubmissionViewSet, "submission")
router.register("numbers", NumberViewSet, "number")

problems = TemplateView.as_view(template_name="problems.html", extra_context={"types": PROBLEM_TYPES})

urlpatterns = [
    path("api/", include([*router.urls, path("schema", SchemaView.as_view(), name="schema")])),
    path("docs", TemplateView.as_view(template_name="docs.html"), name="docs"),
    path("docs/problems", problems, name="problems"),
    path("", views.home, name="home"),
    path("live", views.live, name="live"),
    path("numbers/<str:text>", views.number, name="number"),
    path("stats", stats.stats, name="stats"),
    *(
        re_path(rf"^stats/{what}\.(?P<format_>csv|jsonl)$", stats.download, {"what": what}, name=f"stats-{what}")
        for what in stats.DOWNLOADS
    ),
    path(".well-known/security.txt", views.security_txt, name="security-txt"),
]
