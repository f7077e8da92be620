"""Template filters that format numbers."""

from __future__ import annotations

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
