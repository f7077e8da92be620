"""Rate limit per client, counted in Redis: exact over all processes and machines."""

import logging
from collections.abc import Callable
from time import monotonic

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from redis import Redis, RedisError

from fizzbuzz import metrics
from fizzbuzz_site.http import client_ip, errors
from fizzbuzz_site.serving.gate import JSON

REDIS_TIMEOUT_SECONDS = 1.0  # of each step: connecting, sending, reading
BREAK_SECONDS = 5.0  # circuit breaker: seconds without Redis calls after a failure, per process

log = logging.getLogger(__name__)


class RateLimitMiddleware:
    """Fixed-window rate limit on POST per client. Fails open if Redis is unavailable. Listed when RATE_LIMIT is set.

    A batch counts as many times as it has numbers.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.limit, self.window_seconds = settings.RATE_LIMIT
        self.redis = Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=None,
        )
        self._broken_until = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return self.get_response(request)
        # In a valid batch, commas only separate numbers.
        cost = 1 + request.body.count(b",") if request.content_type == JSON else 1
        counted = self._count(client_ip.rate_limit_key(request), cost)
        if counted is None:
            metrics.unlimited.inc()
            return self.get_response(request)
        left, seconds = counted
        response = errors.too_many_requests(request, seconds) if left < 0 else self.get_response(request)
        if left < 0:
            left += cost  # a rejected batch does not count
        response["RateLimit-Policy"] = f'"default";q={self.limit};w={self.window_seconds}'
        response["RateLimit"] = f'"default";r={max(0, left)};t={seconds}'
        return response

    def _count(self, client: str, cost: int) -> tuple[int, int] | None:
        """Count a request; return what is left of the limit, and the seconds until the window ends.

        What is left is negative if the request exceeds the limit. Return None if Redis is unavailable.
        """
        if self._broken_until:
            if monotonic() < self._broken_until:
                return None
            self._broken_until = monotonic() + BREAK_SECONDS  # one request tries Redis, the others do not wait for it
        key = f"fizzbuzz:{client}:{self.limit}/{self.window_seconds}"
        try:
            calls = self.redis.pipeline()
            calls.incrby(key, cost)
            calls.expire(key, self.window_seconds, nx=True)
            calls.pttl(key)
            used, _, milliseconds = calls.execute()
            if used > self.limit and cost > 1:
                self.redis.decrby(key, cost)  # smaller requests may still fit
        except RedisError as error:
            log.warning("Redis unavailable, rate limiting disabled: %s", error)
            self._broken_until = monotonic() + BREAK_SECONDS
            return None
        self._broken_until = 0.0
        return self.limit - used, -(-milliseconds // 1000)  # rounded up, so that no client retries too early
