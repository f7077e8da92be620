"""Template filters that format numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.filter
def grouped(number: int) -> SafeString | str:
    """Group the digits by three; only CSS adds the gaps, so copying, searching and screen readers see none."""
    if abs(number) < 10_000:  # noqa: PLR2004 - readable without groups
        return str(number)
    groups = ((group,) for group in f"{number:,}".split(","))
    spans = format_html_join(mark_safe("<wbr>"), "<span>{}</span>", groups)
    return format_html('<data class="grouped" value="{}">{}</data>', number, spans)


@register.filter
def moment(at: datetime) -> SafeString:
    """Format a time to the minute, in UTC. Django's `date` filter takes four times the CPU time."""
    utc = at.astimezone(UTC)
    return format_html('<time datetime="{}">{}</time>', utc.isoformat(), f"{utc.day} {utc:%b %Y, %H:%M} UTC")
