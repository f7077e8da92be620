"""Django's and others' middleware, limited to the paths and responses that need it."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; "  # data: for Swagger UI's icons
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class AdminMiddleware:
    """Run Django's session, authentication and message middleware for the admin, the only place with accounts."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.admin = SessionMiddleware(AuthenticationMiddleware(MessageMiddleware(get_response)))

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith("/admin/"):
            return self.admin(request)
        # Shared caches keep the other pages, so they must not set a cookie, as Django's CSRF middleware does when it
        # gets a malformed one.
        request.META.pop("HTTP_COOKIE", None)
        return self.get_response(request)


class PagePolicyMiddleware:
    """Send security policies with HTML pages only: they mean nothing on JSON."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # Django's debug pages have inline styles and scripts.
        if response.headers.get("Content-Type", "").startswith("text/html") and not settings.DEBUG:
            response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
            # No page needs any of these browser features.
            response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
        return response
