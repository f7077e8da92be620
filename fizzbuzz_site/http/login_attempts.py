"""Failed logins to the admin, counted by django-axes per account and IP address, and per IP address alone."""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Sum
from django.http import HttpRequest
from django.utils import timezone

# For clients that try many user names. Five times the limit of one account, because people who share an IP address
# mistype a few passwords; a successful login resets its own failures.
MAX_FAILURES_PER_IP_ADDRESS = 25


class LoginAttempts(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return axes' count of failures, or its limit if the IP address has reached MAX_FAILURES_PER_IP_ADDRESS."""
        failures: int = super().get_failures(request, credentials)
        recent = AccessAttempt.objects.filter(
            ip_address=request.axes_ip_address,  # type: ignore[attr-defined]  # set by axes
            attempt_time__gte=timezone.now() - settings.AXES_COOLOFF_TIME,
        )
        of_address = recent.aggregate(sum=Sum("failures_since_start"))["sum"] or 0
        return max(failures, settings.AXES_FAILURE_LIMIT if of_address >= MAX_FAILURES_PER_IP_ADDRESS else 0)

    def user_logged_in(self, sender: Any, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
        """Reset the failures as axes does, and delete expired sessions, which nothing else does."""
        super().user_logged_in(sender, request, user, **kwargs)
        request.session.clear_expired()
