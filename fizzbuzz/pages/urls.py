"""URLs of the HTML pages and their downloads."""

from __future__ import annotations

from django.urls import path, re_path
from django.views.generic import TemplateView

from fizzbuzz.pages import stats, views

urlpatterns = [
    path("", views.home, name="home"),
    path("live", views.live, name="live"),
    path("numbers/<str:text>", views.number, name="number"),
    path("stats", stats.stats, name="stats"),
    re_path(r"^stats/activity\.(?P<format_>csv|jsonl)$", stats.download_activity, name="stats-activity"),
    re_path(r"^stats/most-common\.(?P<format_>csv|jsonl)$", stats.download_top, name="stats-most-common"),
    re_path(r"^stats/submissions\.(?P<format_>csv|jsonl)$", stats.download_submissions, name="stats-submissions"),
    path("robots.txt", TemplateView.as_view(template_name="robots.txt", content_type="text/plain"), name="robots"),
]
