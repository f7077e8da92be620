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
    """Only the admin has accounts, and so sessions and messages; no other page reads or sets a cookie."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith("/admin/"):
            return super().__call__(request)
        return self.get_response(request)


class AdminSessionMiddleware(_ForAdmin, SessionMiddleware):
    def __call__(self, request: HttpRequest) -> Any:
        if not request.path_info.startswith("/admin/"):
            # Caches share the other pages. Django's CSRF middleware would answer a malformed cookie by a new one.
            request.META.pop("HTTP_COOKIE", None)
        return super().__call__(request)


class AdminAuthenticationMiddleware(_ForAdmin, AuthenticationMiddleware):
    pass


class AdminMessageMiddleware(_ForAdmin, MessageMiddleware):
    pass


class ReadOnlyCorsMiddleware(CorsMiddleware):
    """Allows reading only. CORS does not stop another origin's form, but its page can't read the response."""

    def is_enabled(self, request: HttpRequest) -> bool:
        return request.method in settings.CORS_ALLOW_METHODS and super().is_enabled(request)


class PagePolicyMiddleware(CSPMiddleware):
    """Content security and permissions policies, for pages only: useless on JSON, and they cost a tenth of a POST."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not response.headers.get("Content-Type", "").startswith("text/html"):
            return response
        # No page needs any of a browser's powers.
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        return super().process_response(request, response)
