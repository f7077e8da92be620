"""The ID of the current request, in its log lines, its error response and its header X-Request-ID."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
