"""All URLs. http/monitoring.py handles `/health`, `/health/live` and `/metrics` before URLs are resolved."""

from axes.middleware import AxesMiddleware
from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from fizzbuzz import urls
from fizzbuzz_site.http.monitoring import info

urlpatterns = [
    # Not by include(): of a request, each level and each URL before its own costs some µs.
    *urls.urlpatterns,
    path("info", info, name="info"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/login/", AxesMiddleware(admin.site.login), name="login"),
    path("admin/", admin.site.urls),
]

handler400 = "fizzbuzz_site.http.errors.bad_request"
handler403 = "fizzbuzz_site.http.errors.permission_denied"
handler404 = "fizzbuzz_site.http.errors.not_found"
handler500 = "fizzbuzz_site.http.errors.server_error"
