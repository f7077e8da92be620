"""Rate limit per client, counted in Redis: exact over all processes and machines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from limits import RateLimitItem
from limits.storage import RedisStorage
from redis import ConnectionPool, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from fizzbuzz import metrics
from fizzbuzz_site.http import client_ip, errors

REDIS_TIMEOUT_SECONDS = 1.0  # of each step: connecting, sending, reading
BREAK_SECONDS = 5.0  # circuit breaker: seconds without Redis calls after a failure, per process

log = logging.getLogger(__name__)


class RateLimitMiddleware:
    """Fixed-window rate limit on POST per client. Fails open if Redis is unavailable. Listed when RATE_LIMIT is set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.limit: RateLimitItem = settings.RATE_LIMIT  # type: ignore[assignment]  # not None here
        self.window = self.limit.get_expiry()  # seconds
        pool = ConnectionPool.from_url(
            settings.REDIS_URL,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self.storage = RedisStorage(settings.REDIS_URL, pool, key_prefix="fizzbuzz")
        self._broken_until = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in getattr(request, "rate_limit", {}).items():
            response[name] = value
        return response

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        if request.method != "POST":
            return None
        counted = self._count(client_ip.rate_limit_key(request))
        if counted is None:
            metrics.unlimited.inc()
            return None
        used, seconds = counted
        request.rate_limit = {  # type: ignore[attr-defined]  # read in __call__, for every response
            "RateLimit-Policy": f'"default";q={self.limit.amount};w={self.window}',
            "RateLimit": f'"default";r={max(0, self.limit.amount - used)};t={seconds}',
        }
        return errors.too_many_requests(request, seconds) if used > self.limit.amount else None

    def _count(self, client: str) -> tuple[int, int] | None:
        """Count one request; return the requests in the client's window, and the seconds until the window ends.

        Return None if Redis is unavailable.
        """
        if self._broken_until:
            if monotonic() < self._broken_until:
                return None
            self._broken_until = monotonic() + BREAK_SECONDS  # one request tries Redis, the others do not wait for it
        key = self.limit.key_for(client)
        try:
            # The library's FixedWindowRateLimiter would need a third call of Redis.
            used = self.storage.incr(key, self.window)
            ends = self.storage.get_expiry(key)
        except RedisError as error:
            log.warning("Redis unavailable, rate limiting disabled: %s", error)
            self._broken_until = monotonic() + BREAK_SECONDS
            return None
        self._broken_until = 0.0
        # Redis rounds to the nearest second: add one, so that no client retries too early.
        return used, min(round(ends - time()) + 1, self.window)
