"""How often one client may write, counted by Redis: exact, whichever process and machine it asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from fizzbuzz import errors, metrics
from fizzbuzz_site import clients

SECONDS = 1.0  # that a request waits at most for each step of Redis
PAUSE = 5.0  # seconds that a process leaves a Redis alone that didn't answer

# The window begins with a client's first request, and Redis' clock ends it: the machines' own may differ.
_COUNT = """
    local used = redis.call('INCR', KEYS[1])
    if used == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
    return {used, redis.call('PTTL', KEYS[1])}
"""

log = logging.getLogger(__name__)


class RateLimitMiddleware:
    """Lets each client POST so often in a window; all, while Redis is away. Listed when RATE_LIMIT is set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.limit, self.window = settings.RATE_LIMIT  # type: ignore[misc]  # it is set
        redis = Redis.from_url(
            settings.CACHE_URL,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._count = redis.register_script(_COUNT)
        self._left_alone_until = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in getattr(request, "rate_limit", {}).items():
            response[name] = value
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        if request.method != "POST":
            return None
        counted = self._counted(clients.household(request))
        if counted is None:
            metrics.unlimited.inc()
            return None
        used, seconds = counted
        request.rate_limit = {  # type: ignore[attr-defined]  # ours, for whatever answer there will be
            "RateLimit-Policy": f'"default";q={self.limit};w={self.window}',
            "RateLimit": f'"default";r={max(0, self.limit - used)};t={seconds}',
        }
        return errors.too_many_requests(request, seconds) if used > self.limit else None

    def _counted(self, client: str) -> tuple[int, int] | None:
        """How many requests this client has made in its window, and in how many seconds that ends; None: unknown."""
        if self._left_alone_until:
            if monotonic() < self._left_alone_until:
                return None
            self._left_alone_until = monotonic() + PAUSE  # the others don't wait for what this one finds
        try:
            used, milliseconds = self._count([f"fizzbuzz:{self.window}:{client}"], [self.window])
        except RedisError as error:
            log.warning("The rate limit is off, for its cache is away: %s", error)
            self._left_alone_until = monotonic() + PAUSE
            return None
        self._left_alone_until = 0.0
        return used, -(-milliseconds // 1000)
