"""Third-party middleware, limited to the paths and responses that need it."""

from __future__ import annotations

from typing import Any

from corsheaders.middleware import CorsMiddleware
from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class _ForAdmin(MiddlewareMixin):
    """Mixin that limits a middleware to the admin, the only place with accounts, sessions and messages."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith("/admin/"):
            return super().__call__(request)
        # Shared caches keep the other pages, so they must not set a cookie, as Django's CSRF middleware does when it
        # gets a malformed one.
        request.META.pop("HTTP_COOKIE", None)
        return self.get_response(request)


class AdminSessionMiddleware(_ForAdmin, SessionMiddleware):
    pass


class AdminAuthenticationMiddleware(_ForAdmin, AuthenticationMiddleware):
    pass


class AdminMessageMiddleware(_ForAdmin, MessageMiddleware):
    pass


class ReadOnlyCorsMiddleware(CorsMiddleware):
    """CorsMiddleware that allows reads only."""

    def is_enabled(self, request: HttpRequest) -> bool:
        return request.method in settings.CORS_ALLOW_METHODS and super().is_enabled(request)


class PagePolicyMiddleware(CSPMiddleware):
    """Sends security policies with HTML pages only: they mean nothing on JSON, and cost a tenth of a POST."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not response.headers.get("Content-Type", "").startswith("text/html"):
            return response
        # No page needs any of these browser features.
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        return super().process_response(request, response)
