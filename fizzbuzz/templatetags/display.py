"""Template filters for counts and times, which take a fraction of the CPU time of Django's, and the feedback link."""

from datetime import UTC, datetime

from django import template
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def grouped(count: int) -> str:
    """Group the digits by three: 12,345."""
    return f"{count:,}"


@register.filter
def moment(at: datetime) -> SafeString:
    """Format a time to the minute, in UTC."""
    return _time(at.astimezone(UTC), "%-d %b %Y, %H:%M UTC")


@register.filter
def time_or_date(at: datetime) -> SafeString:
    """Format a time of today to the second, and any other time as its date, in UTC."""
    utc = at.astimezone(UTC)
    return _time(utc, "%H:%M:%S" if utc.date() == datetime.now(UTC).date() else "%-d %b %Y")


def _time(utc: datetime, format_: str) -> SafeString:
    return format_html('<time datetime="{}">{}</time>', utc.isoformat(), f"{utc:{format_}}")


@register.simple_tag
def feedback_url() -> str:
    """Return FEEDBACK_URL. Not a context processor: most pages are rendered without a request."""
    return str(settings.FEEDBACK_URL)
