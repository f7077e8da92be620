"""The service's URLs, and views that return a constant, to measure the cheapest request of each kind."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from fizzbuzz_site import urls


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"<p>constant</p>")


def api(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"{}", "application/json")


urlpatterns = [
    path("floor", page, name="page-floor"),
    path("api/floor", api, name="api-floor"),
    *urls.urlpatterns,
]
handler404 = "fizzbuzz_site.http.errors.not_found"
