"""Others' middleware, as we need it."""

from __future__ import annotations

from typing import Any

from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from django_prometheus.middleware import PrometheusAfterMiddleware


class _ForPeople(MiddlewareMixin):
    """The API has no session, no cookie and no account, and goes without."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith("/api/"):
            return self.get_response(request)
        return super().__call__(request)


class Sessions(_ForPeople, SessionMiddleware):
    pass


class Authentication(_ForPeople, AuthenticationMiddleware):
    pass


class Messages(_ForPeople, MessageMiddleware):
    pass


class ContentSecurityPolicy(CSPMiddleware):
    """For pages; an answer in JSON runs nothing, and goes without the price of it."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.get("Content-Type", "").startswith("text/html"):
            return super().process_response(request, response)
        return response


class PermissionsPolicy(MiddlewareMixin):
    """No page needs any of a browser's powers."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        return response


class PrometheusAfter(PrometheusAfterMiddleware):  # type: ignore[misc]  # it has no types
    """Remembers the series of each set of labels, and lets no method that a client invents make one."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._series: dict[tuple[Any, ...], Any] = {}

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:
        if "method" in labels:
            labels["method"] = self._method(request)
        key = (metric, *labels.values())
        if key not in self._series:
            self._series[key] = super().label_metric(metric, request, response, **labels)
        return self._series[key]
