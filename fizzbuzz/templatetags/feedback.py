"""Template tag for the operator's feedback link."""

from __future__ import annotations

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def feedback_url() -> str:
    """Return FEEDBACK_URL. Not a context processor: most pages are rendered without a request."""
    return str(settings.FEEDBACK_URL)
