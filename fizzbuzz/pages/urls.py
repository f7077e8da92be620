"""URLs of the HTML pages and their downloads."""

from django.urls import path, re_path

from fizzbuzz.pages import stats, views

urlpatterns = [
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
