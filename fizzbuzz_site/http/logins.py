"""Logins to the admin: failures are counted by django-axes, and password hashes do not block the event loop."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Sum
from django.http import HttpRequest
from django.utils import timezone
from gevent import get_hub

from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.db.pool import release_connection

# For clients that try many user names. Five times the limit of one account, because people who share an IP address
# mistype a few passwords; a successful login resets its own failures.
MAX_FAILURES_PER_IP_ADDRESS = 25
NICENESS = 10  # of the hashing thread, so that the threads of requests have priority
PAUSE_RATIO = 2  # seconds until the next hash may begin, per second of the last one

hashing = Bulkhead("passwords are being checked", limit=1, wait_seconds=5)


class LoginAttempts(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return axes' count of failures, or its limit if the IP address has reached MAX_FAILURES_PER_IP_ADDRESS."""
        recent = AccessAttempt.objects.filter(
            ip_address=request.axes_ip_address,  # type: ignore[attr-defined]  # set by axes
            attempt_time__gte=timezone.now() - settings.AXES_COOLOFF_TIME,
        )
        of_address = recent.aggregate(sum=Sum("failures_since_start"))["sum"] or 0
        if of_address >= MAX_FAILURES_PER_IP_ADDRESS:
            return settings.AXES_FAILURE_LIMIT
        return super().get_failures(request, credentials)

    def user_logged_in(self, sender: Any, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
        """Reset the failures as axes does, and delete expired sessions, which nothing else does."""
        super().user_logged_in(sender, request, user, **kwargs)
        request.session.clear_expired()


def login_username(request: HttpRequest, credentials: dict[str, str] | None) -> str:
    """Return the user name of a login attempt, cut to the length of axes' column."""
    return str((credentials or request.POST).get("username") or "")[:255]


class PasswordHasher(PBKDF2PasswordHasher):
    """Django's default hasher, limited to one hash (0.6 s of CPU) at a time and a third of a core per process.

    Raises Busy. It hashes in a native thread, which releases the GIL, so that other greenlets run.
    """

    _next_start: ClassVar[float] = 0.0  # time.monotonic()

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        release_connection()  # a waiting login must not hold a pooled connection
        with hashing.slot():
            time.sleep(max(0.0, self._next_start - time.monotonic()))
            begun = time.monotonic()
            hashed: str = get_hub().threadpool.apply(_at_low_priority, (super().encode, password, salt, iterations))
            PasswordHasher._next_start = time.monotonic() + PAUSE_RATIO * (time.monotonic() - begun)
            return hashed


def _at_low_priority(encode: Callable[..., str], *arguments: object) -> str:
    if sys.platform == "linux":  # other systems have one priority per process; here, 0 is the calling thread
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    return encode(*arguments)
